"""A reward model opened for texts, in files, in batches or behind HTTP: questions are read,
encoded, cut and scored. Imports harness, pairs, tokens and scoring. Used by checks, the commands
score and serve and by whoever imports reward.score."""
