"""What people read of a run: the page, its verdicts, pictures and excerpts, the model card, and
where all of it came from. Imports harness, evaluation and the settings of scoring, and no torch.
Used by the stage report alone.
"""
