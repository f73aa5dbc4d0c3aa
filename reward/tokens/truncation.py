"""How a prompt and its responses are cut to a number of tokens."""

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np

from reward.tokens.prefix import Ids, common_prefix


class Encoded(NamedTuple):
    """A prompt and responses to it: `prompt` followed by `responses[i]` is the i-th whole text."""

    prompt: Ids
    responses: list[Ids]


def truncate(
    prompt: Ids,
    responses: Sequence[Ids],
    max_length: int,
    prompt_floor: float,
    starts: Container[int],
) -> Encoded:
    """Shorten a prompt and the responses to it so that each whole text fits into `max_length`.

    The rule, with prompt P, responses R1 .. Rn and lengths in tokens:
    1. Where len(P) + max(len(Ri)) <= max_length, nothing changes.
    2. Else P gives way on its left, down to floor(prompt_floor * max_length) tokens, at least one.
       A first token out of `starts` stays first.
    3. What is then still too long is cut on the right of the responses.
    4. Where that would make responses equal that are not, i.e. they differ only after the cut, the
       same rule is applied with P and the responses' common start in the place of P. (With more
       than two responses, some of them may still become equal.)

    All responses keep the same prompt, so how much of it is left depends on the longest of them.
    That cannot be avoided: a prompt that is left alone where it fits, and that is the same for both
    responses, has to know both. A response on its own (n = 1) is cut by its own length alone; its
    ids equal those that it has in a pair where the pair fits, where it is the longer of the two,
    and where both bring the prompt down to its floor, as long as rule 4 is not needed.

    max_length: at least 2; prompt_floor: a share, 0 <= prompt_floor < 1.
    """
    longest = max(len(response) for response in responses)
    if len(prompt) + longest <= max_length:
        return Encoded(prompt, list(responses))
    floor = max(1, int(prompt_floor * max_length))
    room = max(max_length - longest, min(len(prompt), floor))
    short = [response[: max_length - room] for response in responses]
    if len(responses) > 1 and all(np.array_equal(short[0], other) for other in short[1:]):
        shared = common_prefix(*responses)
        # Responses without any difference would come back here for ever.
        if shared < longest:
            context = np.concatenate([prompt, responses[0][:shared]])
            tails = [response[shared:] for response in responses]
            return truncate(context, tails, max_length, prompt_floor, starts)
    return Encoded(_last(prompt, room, starts), short)


def _last(ids: Ids, room: int, starts: Container[int]) -> Ids:
    if room and int(ids[0]) in starts:
        return np.concatenate([ids[:1], ids[len(ids) - room + 1 :]])
    return ids[len(ids) - room :]
