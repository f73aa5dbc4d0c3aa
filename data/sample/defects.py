"""What goes wrong with answers, and the answers that it leaves.

A defect is named for what a reader would object to. `wrong`, `off_format` and the right answers are
worded by the task itself; all other defects are made here, out of grammars in wording.yaml, so that
no defect has one phrase that gives it away. Mild defects leave an answer usable, serious ones do
not:

    mild      terse, chatty (small talk around an answer), curt (one rude remark), wordy (repeats)
    serious   wrong, cut (stops in the middle), off_topic, off_format, rude, rambling, vague,
              needless_refusal (declines a harmless request)
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .language import load, sentence
from .task import Draft, Task

WORDING = load("wording")
SOUND = "sound"
_SAYS_SOMETHING = re.compile(r"[^`]*\w")  # no fence of a code block and no lone bracket
_MARK = re.compile(r"^\s*(?:- |\d+[.):] ?)?(?=.*\w)")  # of a list item


@dataclass(frozen=True)
class Answer:
    """A reply and what is the matter with it; `extras` counts what it adds to the bare answer."""

    text: str
    defect: str
    extras: int


def sound(rng: Random, task: Task, _other: Task) -> Answer:
    """A good answer, short or long."""
    return _written(rng, task, task.say(rng, True), SOUND)


def terse(rng: Random, task: Task, _other: Task) -> Answer:
    """Right, with nothing to explain it."""
    return Answer(task.say(rng, True).core, "terse", 0)


def chatty(rng: Random, task: Task, _other: Task) -> Answer:
    """Right, between sentences that say nothing."""
    opening, *talk = _some(rng, "openings", task, 1) + _some(
        rng, "chatter", task, rng.randint(1, 3)
    )
    split = rng.randint(0, len(talk))
    text = _paragraphs(rng, [opening, *talk[:split]], _body(rng, task), talk[split:])
    return Answer(text, "chatty", 0)


def curt(rng: Random, task: Task, _other: Task) -> Answer:
    """Right, with one rude remark."""
    return Answer(_with_remarks(rng, task, _body(rng, task), 1), "curt", 0)


def wordy(rng: Random, task: Task, _other: Task) -> Answer:
    """Right, with one or two things said twice."""
    return Answer(_padded(rng, task, rng.randint(1, 2), 0), "wordy", 0)


def wrong(rng: Random, task: Task, _other: Task) -> Answer:
    """In the form of a good answer, and false."""
    return _written(rng, task, task.say(rng, False), "wrong")


def cut(rng: Random, task: Task, _other: Task) -> Answer:
    """A good answer that stops somewhere in its middle."""
    text = _paragraphs(rng, _opening(rng, task), _body(rng, task), [])
    words = [found.end() for found in re.finditer(r"\S+", text)]
    if len(words) < 4:
        return Answer(text[: max(1, len(text) // 2)].rstrip(" .,;"), "cut", 0)
    end = words[rng.randint(len(words) * 3 // 10, max(len(words) * 3 // 10, len(words) * 8 // 10))]
    return Answer(text[:end].rstrip(" .,;:!?\n"), "cut", 0)


def off_topic(rng: Random, _task: Task, other: Task) -> Answer:
    """A good answer to another question."""
    return _written(rng, other, other.say(rng, True), "off_topic")


def off_format(rng: Random, task: Task, _other: Task) -> Answer:
    """The right content in a form that was ruled out."""
    if task.off_format is None:
        raise ValueError(f"{task.kind} asks for no form, so no answer can miss it")
    return Answer(task.off_format(rng), "off_format", 0)


def rude(rng: Random, task: Task, _other: Task) -> Answer:
    """Contempt for the person who asks, around an answer."""
    return Answer(_with_remarks(rng, task, _body(rng, task), rng.randint(2, 4)), "rude", 0)


def rambling(rng: Random, task: Task, _other: Task) -> Answer:
    """An answer that says the same over and over and wanders off."""
    return Answer(_padded(rng, task, rng.randint(2, 4), rng.randint(2, 4)), "rambling", 0)


def vague(rng: Random, task: Task, _other: Task) -> Answer:
    """Sentences that would fit any question."""
    opening = _opening(rng, task)
    sentences = _some(rng, "vague", task, rng.randint(2, 6))
    return Answer(" ".join([*opening, *sentences]), "vague", 0)


def needless_refusal(rng: Random, task: Task, _other: Task) -> Answer:
    """Declines what there is no reason to decline."""
    sentences = _some(rng, "refusals", task, rng.randint(1, 3))
    return Answer(" ".join(sentences), "needless_refusal", 0)


Make = Callable[[Random, Task, Task], Answer]
MILD: dict[str, Make] = {"terse": terse, "chatty": chatty, "curt": curt, "wordy": wordy}
SERIOUS: dict[str, Make] = {
    "wrong": wrong,
    "cut": cut,
    "off_topic": off_topic,
    "off_format": off_format,
    "rude": rude,
    "rambling": rambling,
    "vague": vague,
    "needless_refusal": needless_refusal,
}


def mild(task: Task) -> list[str]:
    """The mild defects that an answer to this task can have; a bare one cannot be too terse."""
    return [name for name in MILD if not (task.bare and name == "terse")]


def serious(task: Task) -> list[str]:
    """The serious defects that an answer to this task can have."""
    ruled_out = {"off_format"} if task.off_format is None else set()
    ruled_out |= {"needless_refusal"} if task.refuse else set()
    return [name for name in SERIOUS if name not in ruled_out]


def _written(rng: Random, task: Task, draft: Draft, defect: str) -> Answer:
    extras = rng.randint(0, len(draft.more))
    if task.bare:
        return Answer(draft.core, defect, 0)
    closing = []
    if rng.random() < 0.25:
        closing = _some(rng, "closings", task, 1)
    body = _joined(rng, [draft.core, *draft.more[:extras]])
    return Answer(_paragraphs(rng, _opening(rng, task), body, closing), defect, extras)


def _opening(rng: Random, task: Task) -> list[str]:
    if not task.bare and rng.random() < 0.3:
        return _some(rng, "openings", task, 1)
    return []


def _body(rng: Random, task: Task) -> str:
    draft = task.say(rng, True)
    if task.bare:
        return draft.core
    return _joined(rng, [draft.core, *draft.more[: rng.randint(0, len(draft.more))]])


def _joined(rng: Random, blocks: list[str]) -> str:
    apart = any("\n" in block for block in blocks) or rng.random() < 0.15
    return ("\n\n" if apart else " ").join(blocks)


def _paragraphs(rng: Random, before: list[str], body: str, after: list[str]) -> str:
    return _joined(rng, [part for part in (" ".join(before), body, " ".join(after)) if part])


def _some(rng: Random, grammar: str, task: Task, count: int) -> list[str]:
    templates = rng.sample(WORDING[grammar], count)
    return [sentence(rng, template, topic=task.topic) for template in templates]


def _with_remarks(rng: Random, task: Task, body: str, count: int) -> str:
    remarks = _some(rng, "rude", task, count)
    split = rng.randint(0, count)
    return _paragraphs(rng, remarks[:split], body, remarks[split:])


def _padded(rng: Random, task: Task, repeats: int, asides: int) -> str:
    body = _body(rng, task)
    said = [
        part for part in re.split(r"\n|(?<=[a-z)\"][.!?]) ", body) if _SAYS_SOMETHING.match(part)
    ]
    padding = [
        sentence(rng, rng.choice(WORDING["repeats"]), sentence=_MARK.sub("", rng.choice(said)))
        for _ in range(repeats)
    ]
    padding += _some(rng, "asides", task, asides)
    rng.shuffle(padding)
    if "\n" in body:
        return body + "\n\n" + " ".join(padding)
    for extra in padding:
        said.insert(rng.randint(1, len(said)), extra)
    return " ".join(said)
