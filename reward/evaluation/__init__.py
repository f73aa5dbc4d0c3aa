"""What scores say: the records of data/scores, metrics, the bag-of-words baseline, the tables
behind plots. Pure functions of arrays. Imports harness and tokens, and no torch. Used by evaluate,
report and the command compare."""
