"""How a network gives rewards, the same in training, evaluation and serving: groups that share a
prefix, their layout in a row, attention, the head, devices, and a model's settings. Imports harness
and tokens. Used by training, serving, report (the settings alone), train and evaluate."""
