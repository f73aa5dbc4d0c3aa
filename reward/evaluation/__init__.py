"""What scores say: the records of data/scores, metrics, the bag-of-words baseline, best of n, edits
of answers, tables behind plots, comparisons of runs. Pure functions of arrays and texts, but for
what reads revisions. Imports harness and tokens, and no torch. Used by states, testsets, evaluate,
checks, report and the command compare."""
