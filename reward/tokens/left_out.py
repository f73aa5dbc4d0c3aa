"""Whether a chat template leaves out text of a conversation, as some do with the thoughts before
`</think>`: the model then never reads it, and answers that differ in it alone are the same to it.
"""

from collections.abc import Sequence


def left_out(
    contents: Sequence[str], answers: Sequence[str], rendered: Sequence[str]
) -> tuple[bool, list[bool]]:
    """Whether some of a prompt's text, and some of each answer's, is not in what was rendered.

    contents: those of the prompt's turns. rendered: the prompt's text, then one with each answer.
    White space does not count. A text that is there, but changed (to JSON, say), is left out, too.
    """
    opening, *wholes = rendered
    end = _end_of(contents, opening)
    squeezed = map(_squeezed, contents)
    prompt = end < 0 and _end_of([*squeezed], _squeezed(opening)) < 0
    start = max(end, 0)  # an answer's words may stand in the prompt as well
    return prompt, [
        _end_of([answer], whole, start) < 0 and _squeezed(answer) not in _squeezed(whole[start:])
        for answer, whole in zip(answers, wholes, strict=True)
    ]


def _end_of(texts: Sequence[str], rendered: str, start: int = 0) -> int:
    """Where the last text ends, when each is looked for after the one before; -1 where one is not
    there. So the time is that of one pass, however many texts there are.
    """
    for text in texts:
        bare = text.strip()
        start = rendered.find(bare, start)
        if start < 0:
            return -1
        start += len(bare)
    return start


def _squeezed(text: str) -> str:
    return "".join(text.split())
