"""Conversations flattened into one prompt, with the markers that HelpSteer2 has between turns."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from .formats import FORMATS, bulleted
from .knowledge import comparison, definition, fact
from .language import capital, load, phrase, sentence
from .numbers import arithmetic, table, units
from .task import Draft, Task
from .writing import email, rewrite, summary

FOLLOWUP = load("followup")
ASSISTANT, USER = "\n<extra_id_1>Assistant\n", "\n<extra_id_1>User\n"
EARLIER: list[Callable[[Random], Task]] = [arithmetic, units, table, fact, definition, comparison]
LATER: list[Callable[[Random], Task]] = [
    fact,
    definition,
    arithmetic,
    units,
    rewrite,
    email,
    summary,
]


def followup(rng: Random) -> Task:
    """A question that comes after one or two others, or one about the answer before it."""
    return (_another_question if rng.random() < 0.5 else _about_a_list)(rng)


def _another_question(rng: Random) -> Task:
    return replace(after_others(rng, rng.choice(LATER)(rng)), kind="followup")


def after_others(rng: Random, task: Task) -> Task:
    """The same task as the last turn of a conversation about other things."""
    turns = [rng.choice(EARLIER)(rng) for _ in range(rng.choice([1, 1, 2, 2, 3, 4]))]
    prompt = ""
    for turn in turns:
        draft = turn.say(rng, True)
        answer = " ".join([draft.core, *draft.more[: rng.randint(0, 2)]])
        prompt += turn.prompt + ASSISTANT + answer + USER
    prompt += sentence(rng, rng.choice(FOLLOWUP["again"]), ask=task.prompt)

    def say(rng: Random, right: bool) -> Draft:
        # A follow-up is also got wrong by answering what was asked before.
        return task.say(rng, right) if right or rng.random() < 0.5 else turns[0].say(rng, True)

    return replace(task, prompt=prompt, say=say)


def _about_a_list(rng: Random) -> Task:
    entry = rng.choice(FORMATS["topics"])
    items = rng.sample(entry["items"], rng.randint(3, 6))
    listed = [item for item in entry["items"] if item not in items]
    wish = rng.choice(["list_more", "list_pick", "list_numbered"])
    ask = phrase(
        rng, "(Give me|Please write|I need) (some|a few) tips for $topic(, as a list|).", **entry
    )
    prompt = ask + ASSISTANT + bulleted(rng, items) + USER
    prompt += sentence(rng, rng.choice(FOLLOWUP[wish]))

    def say(rng: Random, right: bool) -> Draft:
        if wish == "list_more":
            return Draft(bulleted(rng, rng.sample(listed if right else items, 2)))
        if wish == "list_pick":
            first, last = (items[0], items[-1]) if right else (items[1], rng.choice(listed))
            template = rng.choice(FOLLOWUP["sentence_of_two"])
            return Draft(sentence(rng, template, first=first, last=last))
        told = items if right else rng.sample(entry["items"], len(items))
        return Draft("\n".join(f"{index}. {capital(item)}" for index, item in enumerate(told, 1)))

    return Task("followup", prompt, entry["topic"], say)
