"""What scores say: the records of data/scores, metrics, the bag-of-words baseline, the tables
behind plots, comparisons of runs. Pure functions of arrays, but for what reads revisions. Imports
harness and tokens, and no torch. Used by evaluate, report and the command compare."""
