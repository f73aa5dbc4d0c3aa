"""How a network is fitted: its making from a backbone, losses, the optimiser's step, checkpoints,
the saved folder. Imports harness, sources, tokens and scoring. Used by the stage train alone."""
