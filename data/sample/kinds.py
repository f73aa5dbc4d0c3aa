"""The kinds of task, by name, and the sample that is drawn from all of them."""

from collections.abc import Callable
from random import Random

from .code import code
from .followup import after_others, followup
from .formats import bullets, json_record, labels
from .guidance import howto, plan, refusal
from .knowledge import comparison, definition, fact
from .numbers import arithmetic, ordering, table, units
from .pairs import Pair, draw
from .task import Task
from .writing import email, rewrite, summary

SEED = 20240617
PAIRS_PER_KIND = 112
SHARE_OF_PROMPTS_USED_TWICE = 0.015
SHARE_IN_CONVERSATIONS = 0.12


def _sometimes_later(kind: Callable[[Random], Task]) -> Callable[[Random], Task]:
    """The kind, now and then asked after other questions: one real prompt in nine is."""

    def ask(rng: Random) -> Task:
        task = kind(rng)
        return after_others(rng, task) if rng.random() < SHARE_IN_CONVERSATIONS else task

    return ask


_PLAIN: dict[str, Callable[[Random], Task]] = {
    "arithmetic": arithmetic,
    "units": units,
    "table": table,
    "ordering": ordering,
    "fact": fact,
    "definition": definition,
    "comparison": comparison,
    "json": json_record,
    "bullets": bullets,
    "labels": labels,
    "code": code,
    "email": email,
    "rewrite": rewrite,
    "summary": summary,
    "howto": howto,
    "plan": plan,
    "refusal": refusal,
}

KINDS = {name: _sometimes_later(kind) for name, kind in _PLAIN.items()} | {"followup": followup}


def draw_sample() -> list[Pair]:
    """Every pair of data/sources/sample.jsonl, in its order."""
    return draw(Random(SEED), KINDS, PAIRS_PER_KIND, SHARE_OF_PROMPTS_USED_TWICE)
