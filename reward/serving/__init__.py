"""A reward model opened for texts: questions are read, encoded, cut and scored. Imports harness,
pairs, tokens and scoring. Used by the command score and by whoever imports reward.score."""
