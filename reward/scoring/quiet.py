"""What libraries print while they work is left out: stages and commands speak for themselves."""

from transformers import logging


def quiet_transformers() -> None:
    """Let transformers print errors alone, and no progress bars."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
