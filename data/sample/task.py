"""What a kind of task hands over: a prompt, and how to answer it rightly or wrongly."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Draft:
    """The substance of an answer: what must be there, and what may follow in this order."""

    core: str
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One prompt with everything that the defects need to know about its answers.

    `say(rng, right)` words an answer anew on every call; with right=False it is one that a person
    who checks it would call wrong. `off_format` gives the right content in a form that the prompt
    ruled out, and is None where the prompt asks for no form. `topic` is a noun phrase. `bare` says
    that nothing may stand around the answer. `refuse` says that declining is the right answer.
    `difficulty` is the complexity, 0 to 4, of a plain good answer.
    """

    kind: str
    prompt: str
    topic: str
    say: Callable[[Random, bool], Draft]
    off_format: Callable[[Random], str] | None = None
    bare: bool = False
    refuse: bool = False
    difficulty: int = 1
