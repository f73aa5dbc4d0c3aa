"""Tasks with numbers in them: arithmetic stories, unit conversion, reading tables, ordering."""

from random import Random

from .language import capital, listing, load, phrase, sentence
from .task import Draft, Task

NUMBERS = load("numbers")
NAMES = load("wording")["names"]
BRIEFLY = " Keep it brief."


def arithmetic(rng: Random) -> Task:
    """A story that takes a multiplication and then an addition or a subtraction."""
    story = rng.choice(NUMBERS["stories"])
    a, b, c = rng.randint(3, 14), rng.randint(4, 19), rng.randint(2, 11)
    name = rng.choice(NAMES)
    minus = story["operation"] == "minus"
    given = {"a": a, "b": b, "c": c, "name": name}
    wish = rng.choice(["", "", " Show your steps.", " Please explain.", BRIEFLY])

    def say(rng: Random, right: bool) -> Draft:
        p = a * b
        q = p - c if minus else p + c
        if not right:
            p, q = _slip(rng, a, b, c, minus)
        values = {**given, "p": p, "q": q}
        first, then, done = (
            phrase(rng, story[part], **values) for part in ("first", "then", "done")
        )
        check = f"{a} x {b} {'-' if minus else '+'} {c} = {q}"
        steps = rng.choice(
            [
                f"{capital(first)}, and {then}. So {done}.",
                f"{capital(first)}. {capital(then)}.\n\nTherefore {done}.",
                f"1. {capital(first)}.\n2. {capital(then)}.\n3. Result: {done}.",
                f"{capital(done)}, because {first} and {then}.",
                f"Step one: {first}. Step two: {then}. Answer: {q}.",
            ]
        )
        if not wish or wish == BRIEFLY:
            steps = rng.choice([steps, f"{capital(done)}.", f"{a} x {b} = {p}, so {done}."])
        return Draft(steps, (sentence(rng, rng.choice(NUMBERS["checks"]), check=check),))

    prompt = sentence(rng, story["ask"], **given) + wish
    return Task("arithmetic", prompt, phrase(rng, story["topic"], **given), say, difficulty=2)


def _slip(rng: Random, a: int, b: int, c: int, minus: bool) -> tuple[int, int]:
    """A wrong first step, a wrong sign, a forgotten second step or a small miscount."""
    product = a * b
    signed = -c if minus else c
    p, q = rng.choice(
        [
            (a + b, a + b + signed),
            (product, product - signed),
            (product, product),
            (product + 10, product + 10 + signed),
            (product - b, product - b + signed),
            (product, product + signed + rng.choice([-2, -1, 1, 2])),
        ]
    )
    return p, q if q != product + signed else q + 3


def units(rng: Random) -> Task:
    """An amount in another unit."""
    unit = rng.choice(NUMBERS["units"])
    amount = rng.choice([rng.randint(2, 60), rng.randint(2, 400), rng.randint(3, 99) / 2])
    amount_text, factor = f"{amount:g}", unit["factor"]
    given = {**unit, "amount": amount_text, "factor": f"{factor:g}"}

    def say(rng: Random, right: bool) -> Draft:
        off = 1.0 if right else rng.choice([10, 0.1, 1.5, 1 / factor / factor, 0.8])
        result = f"{round(amount * factor * off, 3):,.10g}"
        core = sentence(
            rng,
            rng.choice(
                [
                    "$amount $from (is|equals|makes|comes to) $result $to.",
                    "(That is|The answer is|It is|You get) $result $to.",
                    "$result $to.",
                    "$amount $from = $result $to.",
                    "(The result|The value) is (exactly |)$result $to.",
                ]
            ),
            result=result,
            **given,
        )
        reasons = rng.sample(NUMBERS["unit_reasons"], rng.randint(1, 3))
        return Draft(core, tuple(sentence(rng, text, result=result, **given) for text in reasons))

    prompt = sentence(rng, rng.choice(NUMBERS["unit_asks"]), name=rng.choice(NAMES), **given)
    topic = phrase(rng, "($amount $from|the conversion to $to|$from and $to)", **given)
    return Task("units", prompt, topic, say)


def table(rng: Random) -> Task:
    """A question about a small table that stands in the prompt."""
    thing = rng.choice(NUMBERS["table_things"])
    rows = thing["rows"][: rng.randint(3, len(thing["rows"]))]
    columns = thing["columns"][: rng.randint(2, 3)]
    cells = {(row, column): rng.randint(3, 98) for row in rows for column in columns}
    column = rng.choice(columns)
    question, answer, slips, why = _question(rng, rows, column, cells)
    comma = rng.random() < 0.5
    lines = [[thing["row"], *columns]]
    lines += [[row, *(str(cells[row, name]) for name in columns)] for row in rows]
    text = "\n".join((", " if comma else " | ").join(line) for line in lines)

    def say(rng: Random, right: bool) -> Draft:
        value = answer if right else rng.choice(slips)
        given = {"value": value, "column": column, "why": why}
        core = sentence(rng, rng.choice(NUMBERS["table_answers"]), **given)
        return Draft(core, tuple(sentence(rng, line, **given) for line in NUMBERS["table_more"]))

    prompt = f"{thing['title']} keeps this table:\n\n{text}\n\n{question}"
    if rng.random() < 0.4:
        prompt = f"{question}\n\n{text}"
    return Task("table", prompt, f"the {column} in the table", say)


def _question(
    rng: Random, rows: list[str], column: str, cells: dict[tuple[str, str], int]
) -> tuple[str, str, list[str], str]:
    """A question on one column, its answer, wrong answers and the values it rests on."""
    values = {row: cells[row, column] for row in rows}
    why = listing([f"{value} ({row})" for row, value in values.items()])
    ranked = sorted(rows, key=lambda row: values[row])
    total = sum(values.values())
    first, second = rng.sample(rows, 2)
    gap = abs(values[first] - values[second])
    limit = rng.randint(20, 70)
    above = sum(value > limit for value in values.values())
    tied = len(set(values.values())) < len(values)
    kind = rng.choice(
        ["total", "gap", "above"] if tied else ["most", "least", "total", "gap", "above"]
    )
    if kind == "most":
        ask = f"(Which row has|Where do we find) the (most|highest number of) {column}?"
        return sentence(rng, ask), ranked[-1], ranked[:-1], why
    if kind == "least":
        ask = f"(Which row has|Where do we find) the (fewest|lowest number of) {column}?"
        return sentence(rng, ask), ranked[0], ranked[1:], why
    if kind == "total":
        ask = f"(What is the total of|How many are there in all of) the {column} column?"
        slips = [str(total + 10), str(total - values[first]), str(total + rng.randint(1, 9))]
        return sentence(rng, ask), str(total), slips, why
    if kind == "gap":
        ask = f"(By how|How) much do {first} and {second} differ in {column}?"
        slips = [str(gap + 10), str(values[first] + values[second]), str(gap + rng.randint(1, 6))]
        return sentence(rng, ask), str(gap), slips, why
    ask = f"(How many rows have|In how many rows do we see) more than {limit} {column}?"
    return sentence(rng, ask), str(above), [str(above + 1), str(above + 2)], why


def ordering(rng: Random) -> Task:
    """Things to put in order: people by a number, words by the alphabet, events by year."""
    return rng.choice([_by_number, _by_alphabet, _by_year])(rng)


def _by_number(rng: Random) -> Task:
    topic, occasion, verb, unit = rng.choice(NUMBERS["scores"])
    people = rng.sample(NAMES, rng.randint(3, 7))
    values = rng.sample(range(101, 190), len(people))
    downwards = rng.random() < 0.5
    told = " ".join(
        f"{name} {verb} {value} {unit}." for name, value in zip(people, values, strict=True)
    )
    way = "highest to lowest" if downwards else "lowest to highest"
    ordered = sorted(zip(values, people, strict=True), reverse=downwards)
    prompt = sentence(
        rng,
        f"(At|For) {occasion}, (these numbers|the following) were noted. {told}"
        f" (Sort|Order|Arrange|Rank) (the names|the people|everyone) from {way}.",
    )
    reason = f"The numbers run {', '.join(str(value) for value, _ in ordered)}."
    return _sorted_task(rng, prompt, [name for _, name in ordered], f"the {topic} list", reason)


def _by_alphabet(rng: Random) -> Task:
    words = rng.sample(NUMBERS["words"], rng.randint(4, 8))
    backwards = rng.random() < 0.25
    way = "reverse alphabetical" if backwards else "alphabetical"
    prompt = sentence(
        rng,
        f"(Put|Sort|Arrange) (these|the following) words in(to|) {way} order: {', '.join(words)}.",
    )
    ordered = sorted(words, reverse=backwards)
    reason = f"Only the first letters matter here, from {ordered[0][0]} to {ordered[-1][0]}."
    if len({word[0] for word in words}) < len(words):
        reason = "Where two words share a first letter, the next letter decides."
    return _sorted_task(rng, prompt, ordered, "the alphabet", reason)


def _by_year(rng: Random) -> Task:
    events = rng.sample(NUMBERS["events"], rng.randint(3, 5))
    if len({year for _, year in events}) < len(events):
        return _by_year(rng)
    prompt = sentence(
        rng,
        "(Put these events in order of time|Sort these events by date|Which came first? Order these"
        f" events), earliest first: {'; '.join(event for event, _ in events)}.",
    )
    ordered = [event for event, _ in sorted(events, key=lambda event: event[1])]
    years = sorted(year for _, year in events)
    reason = f"The years are {listing([str(year) for year in years])}."
    return _sorted_task(rng, prompt, ordered, "these events", reason)


def _sorted_task(rng: Random, prompt: str, ordered: list[str], topic: str, reason: str) -> Task:
    numbered = rng.random() < 0.5
    if numbered:
        prompt += rng.choice(
            [" Use a numbered list.", " Number the lines.", " One per line, numbered."]
        )

    def say(rng: Random, right: bool) -> Draft:
        items = list(ordered)
        while not right and items == ordered:
            rng.shuffle(items)
        if numbered or rng.random() < 0.4:
            core = "\n".join(f"{index}. {item}" for index, item in enumerate(items, 1))
        else:
            core = sentence(
                rng,
                "(The order is|In order|Sorted): $items.",
                items=rng.choice([", ", ", then ", " - "]).join(items),
            )
        return Draft(core, (reason,))

    def off_format(rng: Random) -> str:
        told = "(First comes|It begins with) $first(, followed by| and after that) $rest."
        return sentence(rng, told, first=ordered[0], rest=listing(ordered[1:]))

    return Task("ordering", prompt, topic, say, off_format if numbered else None)
