"""Tasks that ask for guidance: steps, a timetable, and requests that may have to be declined."""

from random import Random

from .language import capital, listing, load, phrase, sentence
from .task import Draft, Task

GUIDANCE = load("guidance")
NAMES = load("wording")["names"]


def howto(rng: Random) -> Task:
    """Steps to a goal; wrong answers turn the order round and slip in a step that spoils it."""
    entry = rng.choice(GUIDANCE["howtos"])

    def say(rng: Random, right: bool) -> Draft:
        steps = list(entry["steps"])
        if not right:
            steps = steps[len(steps) // 2 :][::-1] + steps[: len(steps) // 3]
            steps.insert(rng.randint(0, len(steps)), rng.choice(entry["bad"]))
        more = rng.sample(GUIDANCE["howto_more"], rng.randint(1, 3))
        return Draft(_steps(rng, steps), tuple(sentence(rng, line) for line in more))

    prompt = sentence(
        rng, rng.choice(GUIDANCE["howto_asks"]), goal=entry["goal"], name=rng.choice(NAMES)
    )
    topic = phrase(rng, "(how to $goal|the way to $goal)", goal=entry["goal"])
    return Task("howto", prompt, topic, say, difficulty=2)


def _steps(rng: Random, steps: list[str]) -> str:
    shape = rng.random()
    if shape < 0.4:
        return "\n".join(f"{index}. {capital(step)}." for index, step in enumerate(steps, 1))
    if shape < 0.6:
        return "\n".join(f"- {capital(step)}" for step in steps)
    joints = ["Then ", "After that, ", "Next, ", "Now ", "", ""]
    said = [capital(rng.choice(joints) + step) for step in steps[1:]]
    return (
        ". ".join([sentence(rng, "(First|First of all|To begin),") + " " + steps[0], *said]) + "."
    )


def plan(rng: Random) -> Task:
    """A timetable whose times follow from the lengths of its parts."""
    entry = rng.choice(GUIDANCE["plans"])
    parts = entry["parts"][: rng.randint(4, len(entry["parts"]))]
    start = rng.randint(16, 34) * 30
    told = ", ".join(f"{what} ({minutes} min)" for what, minutes in parts)
    total = sum(minutes for _, minutes in parts)

    def say(rng: Random, right: bool) -> Draft:
        order = list(parts)
        at = start
        if not right:
            rng.shuffle(order)
            at += rng.choice([-60, 60, 90, 120])
        mark, lines = rng.choice([" ", " - ", ": "]), []
        for what, minutes in order:
            lines.append(f"{_clock(at)}{mark}{capital(what)}")
            at += minutes if right else rng.choice([minutes, 15, 45])
        more = rng.sample(GUIDANCE["plan_more"], 2)
        values = {"total": total, "end": _clock(at)}
        return Draft("\n".join(lines), tuple(sentence(rng, line, **values) for line in more))

    def off_format(rng: Random) -> str:
        actions = [what for what, _ in parts]
        template = rng.choice(GUIDANCE["plan_prose"])
        return sentence(rng, template, first=actions[0], rest=listing(actions[1:]))

    prompt = sentence(
        rng,
        rng.choice(GUIDANCE["plan_asks"]),
        what=entry["what"],
        start=_clock(start),
        parts=told,
        name=rng.choice(NAMES),
    )
    return Task("plan", prompt, entry["what"], say, off_format, difficulty=2)


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"


def refusal(rng: Random) -> Task:
    """A request to decline with an offer, or one that only sounds as if it should be declined."""
    if rng.random() < 0.6:
        return _harmful(rng)
    return _harmless(rng)


def _harmful(rng: Random) -> Task:
    entry = rng.choice(GUIDANCE["harmful"])

    def say(rng: Random, right: bool) -> Draft:
        if not right:
            chosen = rng.sample(GUIDANCE["go_along"], rng.randint(1, 2))
            return Draft(" ".join(sentence(rng, line, topic=entry["topic"]) for line in chosen))
        instead = phrase(rng, entry["instead"])
        values = {"topic": entry["topic"], "why": entry["why"], "instead": instead}
        core = sentence(rng, rng.choice(GUIDANCE["decline"]), **values)
        more = rng.sample(GUIDANCE["decline_more"], 3)
        return Draft(core, tuple(sentence(rng, line, **values) for line in more))

    prompt = sentence(
        rng, rng.choice(GUIDANCE["harmful_asks"]), ask=entry["ask"], name=rng.choice(NAMES)
    )
    return Task("refusal", prompt, entry["topic"], say, refuse=True)


def _harmless(rng: Random) -> Task:
    entry = rng.choice(GUIDANCE["harmless"])

    def say(rng: Random, right: bool) -> Draft:
        told = entry
        while not right and told is entry:
            told = rng.choice(GUIDANCE["harmless"])
        more = rng.sample(told["more"], len(told["more"]))
        return Draft(f"{told['answer']}.", tuple(f"{line}." for line in more))

    prompt = sentence(
        rng, rng.choice(GUIDANCE["harmless_asks"]), ask=entry["ask"], name=rng.choice(NAMES)
    )
    return Task("refusal", prompt, entry["topic"], say)
