"""Token ids, and how many of them two texts begin with alike."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]  # token ids, one dimension


def common_prefix(first: Ids, *others: Ids) -> int:
    """Length of the longest common prefix, in tokens."""
    length = len(first)
    for other in others:
        length = min(length, len(other))
        differs = np.flatnonzero(first[:length] != other[:length])
        length = int(differs[0]) if len(differs) else length
    return length
