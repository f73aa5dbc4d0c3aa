"""Tasks that ask for knowledge: single facts, the meaning of a word, two things compared."""

from random import Random
from typing import Any

from .language import capital, load, phrase, sentence
from .task import Draft, Task

KNOWLEDGE = load("knowledge")
NAMES = load("wording")["names"]


def fact(rng: Random) -> Task:
    """One fact with a little background."""
    entry = rng.choice(KNOWLEDGE["facts"])
    guess = rng.choice([entry["answer"], *entry["wrong"]])
    prompt = sentence(
        rng,
        rng.choice(KNOWLEDGE["fact_asks"]),
        ask=entry["ask"],
        name=rng.choice(NAMES),
        guess=guess,
        pronoun=entry["pronoun"],
        Pronoun=capital(entry["pronoun"]),
    )
    return Task("fact", prompt, entry["ask"], lambda rng, right: tell_fact(rng, entry, right))


def tell_fact(rng: Random, entry: dict[str, Any], right: bool) -> Draft:
    """The answer to one entry of the facts, or a false one that nothing gives away."""
    answer = entry["answer"] if right else rng.choice(entry["wrong"])
    template = rng.choice(KNOWLEDGE["fact_answers"])
    core = sentence(rng, template, ask=entry["ask"], answer=answer)
    if right:
        return Draft(core, tuple(rng.sample(entry["more"], len(entry["more"]))))
    return Draft(core, tuple(line for line in entry["more"] if entry["answer"] not in line))


def definition(rng: Random) -> Task:
    """What a word means, with an example."""
    entry = rng.choice(KNOWLEDGE["definitions"])
    others = [other for other in KNOWLEDGE["definitions"] if other["part"] == entry["part"]]
    others = [other for other in others if other is not entry]

    def say(rng: Random, right: bool) -> Draft:
        told = entry if right else {**rng.choice(others), "word": entry["word"]}
        told = {**told, "article": "an" if told["part"] == "adjective" else "a"}
        parts = [
            rng.choice(KNOWLEDGE[f"definition_{part}"]) for part in ("answers", "examples", "more")
        ]
        meaning, _, near = (sentence(rng, part, **told) for part in parts)
        example = sentence(rng, parts[1], example=entry["example"])
        return Draft(f"{meaning} {example}", (near,))

    template = rng.choice(KNOWLEDGE["definition_asks"])
    prompt = sentence(rng, template, word=entry["word"], name=rng.choice(NAMES))
    return Task("definition", prompt, f'the word "{entry["word"]}"', say)


def comparison(rng: Random) -> Task:
    """How two things differ; a wrong answer mixes them up."""
    entry = rng.choice(KNOWLEDGE["comparisons"])
    first, second, use = entry["a"], entry["b"], entry["use"]

    def say(rng: Random, right: bool) -> Draft:
        points = rng.sample(entry["points"], rng.randint(2, len(entry["points"])))
        if not right:
            points = [[b, a] for a, b in points]
        a, b = capital(first), capital(second)
        if rng.random() < 0.5:
            core = "\n".join(f"- {a} {one}; {second} {two}." for one, two in points)
        else:
            joints = [", while ", ", whereas ", "; ", ", but "]
            core = " ".join(
                f"{a} {one}{rng.choice(joints)}{second} {two}."
                if index % 2 == 0
                else f"{b} {two}{rng.choice(joints)}{first} {one}."
                for index, (one, two) in enumerate(points)
            )
        more = [sentence(rng, line, use=use) for line in KNOWLEDGE["comparison_more"]]
        return Draft(core, tuple(more))

    prompt = sentence(
        rng,
        rng.choice(KNOWLEDGE["comparison_asks"]),
        a=first,
        b=second,
        use=use,
        name=rng.choice(NAMES),
    )
    topic = phrase(rng, "(the choice between the two|$a and $b)", a=first, b=second)
    return Task("comparison", prompt, topic, say, difficulty=2)
