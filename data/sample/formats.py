"""Tasks whose answers need a form: a JSON object, a list of so many items, one label per line."""

import json
from random import Random

from .language import capital, listing, load, phrase, sentence
from .task import Draft, Task

FORMATS = load("formats")
NAMES = load("wording")["names"]


def json_record(rng: Random) -> Task:
    """The content of a sentence as one JSON object and nothing else."""
    record = rng.choice(FORMATS["records"])
    values = {
        "name": rng.choice(NAMES),
        "day": rng.choice(FORMATS["days"]),
        "hour": rng.choice(FORMATS["hours"]),
        "city": rng.choice(FORMATS["cities"]),
        "item": rng.choice(FORMATS["items"]),
        "small": rng.randint(2, 12),
        "number": rng.randint(18, 90),
    }
    fields = {key: phrase(rng, value, **values) for key, value in record["keys"].items()}
    row: dict[str, str | int] = {
        key: int(value) if key in record["numbers"] else value for key, value in fields.items()
    }

    def say(rng: Random, right: bool) -> Draft:
        told = row if right else _mixed_up(rng, row)
        return Draft(json.dumps(told, indent=rng.choice([None, 2, 2, 4])))

    def off_format(rng: Random) -> str:
        template = rng.choice(FORMATS["record_pairs"])
        pairs = [phrase(rng, template, key=key, value=value) for key, value in row.items()]
        joined = rng.choice([", ", "; ", ", and "]).join(pairs)
        return sentence(rng, rng.choice(FORMATS["record_prose"]), pairs=capital(joined))

    prompt = sentence(
        rng,
        rng.choice(FORMATS["record_asks"]),
        keys=listing(list(row)),
        text=phrase(rng, record["text"], **values),
        what=record["what"],
        lf="\n\n",
    )
    return Task("json", prompt, f"{record['what']} in JSON", say, off_format, bare=True)


def _mixed_up(rng: Random, row: dict[str, str | int]) -> dict[str, str | int]:
    """The record with two values in each other's place, or with half of its keys."""
    keys = list(row)
    if rng.random() < 0.4:
        return {key: row[key] for key in keys[: len(keys) // 2]}
    first, second = rng.sample(keys, 2)
    return {**row, first: row[second], second: row[first]}


def bullets(rng: Random) -> Task:
    """A list of exactly so many items on a topic."""
    entry = rng.choice(FORMATS["topics"])
    count = rng.randint(3, 8)

    def say(rng: Random, right: bool) -> Draft:
        items = rng.sample(entry["items"], count)
        if not right:
            strangers = rng.sample(FORMATS["topics"], 4)
            foreign = [rng.choice(topic["items"]) for topic in strangers if topic is not entry]
            items = rng.sample([*items[: count // 3], *foreign, *foreign], count)
        return Draft(bulleted(rng, items))

    def off_format(rng: Random) -> str:
        items = rng.sample(entry["items"], min(9, count + rng.randint(0, 2)))
        template = rng.choice(FORMATS["list_prose"])
        return sentence(
            rng, template, topic=entry["topic"], first=items[0], rest=listing(items[1:])
        )

    prompt = sentence(
        rng,
        rng.choice(FORMATS["list_asks"]),
        count=_spelled(count) if rng.random() < 0.7 else count,
        topic=entry["topic"],
        name=rng.choice(NAMES),
    )
    return Task("bullets", prompt, entry["topic"], say, off_format, bare=True)


def bulleted(rng: Random, items: list[str]) -> str:
    """One item a line, with or without a capital and a full stop."""
    stop = rng.choice(["", "."])
    if rng.random() < 0.7:
        items = [capital(item) for item in items]
    return "\n".join(f"- {item}{stop}" for item in items)


def _spelled(count: int) -> str:
    return ["three", "four", "five", "six", "seven", "eight"][count - 3]


def labels(rng: Random) -> Task:
    """Reviews to be told apart by one of two labels, one a line."""
    words = rng.choice(FORMATS["review_labels"])
    count = rng.randint(3, 8)
    truth = [rng.randint(0, 1) for _ in range(count)]
    truth[0], truth[-1] = rng.sample([0, 1], 2)
    texts = [rng.sample(FORMATS["reviews"][mood], count) for mood in ("positive", "negative")]
    lines = [texts[mood][index] for index, mood in enumerate(truth)]

    def say(rng: Random, right: bool) -> Draft:
        told = list(truth)
        if not right:
            for index in rng.sample(range(count), rng.randint(1 + count // 3, count)):
                told[index] = 1 - told[index]
        mark = rng.choice([". ", ": ", ") ", " - "])
        shown = words if rng.random() < 0.5 else [capital(word) for word in words]
        return Draft("\n".join(f"{i}{mark}{shown[mood]}" for i, mood in enumerate(told, 1)))

    def off_format(rng: Random) -> str:
        good, bad = (
            listing([f'"{line}"' for line, mood in zip(lines, truth, strict=True) if mood == side])
            for side in (0, 1)
        )
        template = rng.choice(FORMATS["review_essay"])
        return sentence(rng, template, yes=words[0], no=words[1], good=good, bad=bad)

    prompt = sentence(
        rng,
        rng.choice(FORMATS["review_asks"]),
        yes=words[0],
        no=words[1],
        count=count,
        lines="\n".join(f"{i}. {line}." for i, line in enumerate(lines, 1)),
        lf="\n\n",
    )
    return Task("labels", prompt, f"these {count} reviews", say, off_format, bare=True)
