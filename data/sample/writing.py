"""Tasks of writing: an email, a sentence put differently, a summary of a passage."""

from random import Random
from typing import Any

from .language import load, phrase, sentence
from .task import Draft, Task

WRITING = load("writing")
NAMES = load("wording")["names"]


def email(rng: Random) -> Task:
    """An email for an occasion, with the person, the day and the reason given in the prompt."""
    entry = rng.choice(WRITING["emails"])
    me, other, third = rng.sample(NAMES, 3)
    given = {"me": me, "other": other, "third": third, "day": rng.choice(WRITING["days"])}
    given["reason"] = rng.choice(entry["reasons"])

    def say(rng: Random, right: bool) -> Draft:
        return Draft(_letter(rng, entry, given if right else _mistaken(rng, entry, given)))

    def off_format(rng: Random) -> str:
        lines = rng.sample(WRITING["email_advice"], rng.randint(1, 3))
        return " ".join(sentence(rng, line, **given) for line in lines)

    ask = phrase(rng, entry["ask"], **given)
    prompt = sentence(rng, rng.choice(WRITING["email_asks"]), me=me, ask=ask)
    topic = phrase(rng, "(the email|the message|this email) to $other", **given)
    return Task("email", prompt, topic, say, off_format, difficulty=2)


def _letter(rng: Random, entry: dict[str, list[str]], given: dict[str, str]) -> str:
    def fill(template: str | list[str]) -> str:
        return sentence(rng, str(template), **given)

    more = rng.sample(entry["more"], rng.randint(0, 2))
    paragraph = " ".join(fill(text) for text in [str(entry["body"]), *more])
    subject = f"Subject: {fill(entry['subject'])}\n\n" if rng.random() < 0.5 else ""
    greeting = fill(rng.choice(WRITING["email_greetings"]))
    end = fill(rng.choice(WRITING["email_ends"]))
    return f"{subject}{greeting},\n\n{paragraph}\n\n{end},\n{given['me']}"


def _mistaken(rng: Random, entry: dict[str, list[str]], given: dict[str, str]) -> dict[str, str]:
    """Another day and reason, or sender and receiver mixed up."""
    if rng.random() < 0.4:
        return {**given, "me": given["other"], "other": given["me"]}
    days = [day for day in WRITING["days"] if day != given["day"]]
    reasons = [reason for reason in entry["reasons"] if reason != given["reason"]]
    return {**given, "day": rng.choice(days), "reason": rng.choice(reasons)}


def rewrite(rng: Random) -> Task:
    """A sentence to be put in another style, voice or tense."""
    entry = rng.choice(WRITING["rewrites"])
    source, target = rng.choice(entry["pairs"])
    given = {"name": rng.choice(NAMES), "thing": rng.choice(WRITING["things"])}
    given["day"] = rng.choice(WRITING["days"][:6])
    original = phrase(rng, source, **given)

    def say(rng: Random, right: bool) -> Draft:
        told = given if right else _other_values(rng, given)
        text = phrase(rng, target if right or rng.random() < 0.6 else source, **told)
        core = phrase(rng, rng.choice(WRITING["rewrite_answers"]), text=text)
        more = rng.sample(WRITING["rewrite_more"], 2)
        return Draft(core, tuple(sentence(rng, line) for line in more))

    ask = sentence(rng, entry["ask"])
    prompt = rng.choice([f"{ask}: {original}", f"{ask}:\n\n{original}", f'{ask}: "{original}"'])
    return Task("rewrite", prompt, "this sentence", say)


def _other_values(rng: Random, given: dict[str, str]) -> dict[str, str]:
    """The same sentence about another person, thing and day."""
    pools = {"name": NAMES, "thing": WRITING["things"], "day": WRITING["days"][:6]}
    return {
        key: rng.choice([item for item in pools[key] if item != value])
        for key, value in given.items()
    }


def summary(rng: Random) -> Task:
    """One sentence on a passage of eight to ten, sometimes out of several passages."""
    reports = [
        _report(rng, entry) for entry in rng.sample(WRITING["passages"], rng.choice([1, 1, 2, 3]))
    ]
    entry, given, lines = rng.choice(reports)
    text = "\n\n".join(" ".join(report[2]) for report in reports)
    asks = WRITING["summary_asks" if len(reports) == 1 else "summary_of_one"]
    ask = sentence(rng, rng.choice(asks), city=given["city"])

    def say(rng: Random, right: bool) -> Draft:
        return Draft(sentence(rng, entry["summary" if right else "wrong"], **given))

    def off_format(rng: Random) -> str:
        start = rng.randint(0, 2)
        return " ".join(lines[start : start + rng.randint(3, 6)])

    prompt = f"{ask}\n\n{text}" if rng.random() < 0.6 else f"{text}\n\n{ask}"
    topic = phrase(rng, "(the text|this report|the story) from $city", **given)
    return Task("summary", prompt, topic, say, off_format, bare=True)


def _report(rng: Random, entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """A passage with its names and numbers filled in."""
    given = {
        "name": rng.choice(NAMES),
        "city": rng.choice(WRITING["cities"]),
        "place": rng.choice(WRITING["places"]),
        "shop": rng.choice(WRITING["shops"]),
        "day": rng.choice(WRITING["days"]),
        "number": str(rng.randint(12, 95)),
    }
    return entry, given, [sentence(rng, line, **given) for line in entry["lines"]]
