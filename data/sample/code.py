"""Tasks to repair a short Python function."""

from random import Random
from string import Template

from .language import capital, load, phrase, sentence
from .task import Draft, Task

CODE = load("code")
NAMES = load("wording")["names"]


def code(rng: Random) -> Task:
    """A function with a mistake; a wrong answer hands back another broken one."""
    problem = rng.choice(CODE["problems"])
    names = {"f": rng.choice(problem["names"]), "x": rng.choice(problem["args"])}
    broken, fixed, check = (
        Template(problem[part]).substitute(names) for part in ("broken", "fixed", "check")
    )

    def say(rng: Random, right: bool) -> Draft:
        text = fixed if right else _still_wrong(rng, broken, fixed)
        block = f"```{rng.choice(['python', 'python', ''])}\n{text}\n```"
        if rng.random() < 0.7:
            block = f"{sentence(rng, rng.choice(CODE['openers']))}\n\n{block}"
        why = problem["why"] if right else rng.choice(CODE["problems"])["why"]
        more = rng.sample(CODE["more"], len(CODE["more"]))
        return Draft(block, tuple(sentence(rng, text, why=why, check=check) for text in more))

    def off_format(rng: Random) -> str:
        return sentence(rng, rng.choice(CODE["prose"]), why=capital(problem["why"]))

    ask = sentence(rng, rng.choice(CODE["asks"]), goal=problem["goal"], name=rng.choice(NAMES))
    prompt = f"{ask}\n\n```python\n{broken}\n```"
    if rng.random() < 0.5:
        prompt += rng.choice(["\n\nShow the whole function.", "\n\nReply with code, please."])
    topic = phrase(rng, "(the function|this bit of Python|$f)", **names)
    return Task("code", prompt, topic, say, off_format, difficulty=2)


def _still_wrong(rng: Random, broken: str, fixed: str) -> str:
    """The same mistake again, or a new one that hides in the repaired version."""
    spoilt = fixed.replace("return ", "return not ", 1)
    cut = fixed.rsplit("\n", 1)[0] + "\n    pass"
    return rng.choice([broken, broken, spoilt, cut])
