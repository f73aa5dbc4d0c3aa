"""Made-up evidence for a report, and pairs that are hostile to its reader."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reward.evaluation import figures
from reward.evaluation.metrics import measure
from reward.evaluation.scores import Scored
from reward.report.plots import Plot
from reward.report.provenance import Provenance
from reward.report.verdicts import Evidence

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "reward/report/templates"
TEMPLATES = PROJECT / ".dvc/plots"
SETTINGS: dict[str, Any] = {
    "confidence": 0.95,
    "calibration_bins": 10,
    "rating_gaps": (0.5, 1.0),
    "response_lengths": (128, 384),
    "similar_length": 0.1,
}
NASTY = (
    "</div></td></table></main><script>window.pwned = 1</script>"
    "<img src=http://127.0.0.1:9/leak onerror='window.pwned = 2'>{{ 7 * 7 }}"
)


def figure(mean: float, low: float, high: float) -> dict[str, float]:
    """A figure of data/checks.json with its interval."""
    return {"mean": mean, "low": low, "high": high}


def edit(name: str, change: dict[str, float], **other: Any) -> dict[str, Any]:
    """A row of reward.evaluation.robustness; `other` takes the place of what it has."""
    known = {"answers": 1234, "raised": 0.625, "won": 75, "lost": 3.0}
    return {"name": name, "change": change, "overtaken": figure(0.04, 0.01, 0.11)} | known | other


CHECKS: dict[str, Any] = {
    "settings": {"pairs": 617, "confidence": 0.9, "filler_sentences": 8},
    "edits": [
        edit("filler in front", figure(-0.956, -1.06, -0.85), won=0, overtaken=None),
        edit("filler at the end", figure(0.634, 0.54, 0.72)),
    ],
    "style": {
        "control": "rating",
        "effects": [
            {"name": "rating", "prompts": 397, "effect": figure(0.87, 0.74, 1.01)},
            {"name": "length doubled", "prompts": 380, "effect": figure(-0.29, -0.41, -0.2)},
        ],
    },
    "best_of_n": [
        {"n": 1, "prompts": 397, "gain": figure(0, 0, 0), "possible": 0.0},
        {"n": 2, "prompts": 396, "gain": figure(0.2, 0.16, 0.24), "possible": 0.42},
    ],
}


def evidence(scored: Scored, **testsets: dict[str, Any]) -> Evidence:
    """What evaluate would find in these scores."""
    return Evidence(
        measured=measure(scored, **SETTINGS),
        testsets=testsets,
        settings=SETTINGS,
        scored=scored,
        pair_ids=np.array([f"{number:032x}" for number in range(len(scored.chosen))]),
    )


def made_up(pairs: int) -> Evidence:
    """Random scores; the bag of words is right about half of the time."""
    draws = np.random.default_rng(0)
    chosen, rejected = draws.normal(0.5, 1, pairs), draws.normal(0, 1, pairs)
    chosen_tokens, rejected_tokens = draws.integers(1, 500, (2, pairs))
    gap = draws.choice([0.2, 0.8, 1.6, np.nan], pairs)
    words = draws.normal(0, 1, pairs)
    prompts = np.arange(pairs)
    return evidence(Scored(chosen, rejected, chosen_tokens, rejected_tokens, gap, words, prompts))


def plots_of(found: Evidence, steps: int = 50) -> list[Plot]:
    scored = found.scored
    step = np.arange(steps)
    curve = {
        "step": step,
        "loss": 1 / (1 + step),
        "accuracy": step / steps,
        "grad_norm": step % 7 + 0.5,
        "learning_rate": step / 1e4,
    }
    tables = {
        "reliability": figures.reliability(scored, 10, 0.95),
        "margins": figures.margins(scored.margin),
        "accuracy_by_gap": figures.accuracy_by_gap(scored, (0.5, 1.0), 0.95),
        "accuracy_by_confidence": figures.accuracy_by_confidence(scored, 0.95),
        "reward_length": figures.reward_length(scored),
        "train_curve": pa.table(curve),
    }
    return [Plot(name, table, TEMPLATES / f"{name}.json") for name, table in tables.items()]


def write_pairs(path: Path, texts: list[tuple[list[dict[str, str]], str, str]]) -> Path:
    rows = [
        {
            "pair_id": f"{number:032x}",
            "prompt": prompt,
            "chosen": chosen,
            "rejected": rejected,
            "chosen_rating": None,
            "rejected_rating": None,
        }
        for number, (prompt, chosen, rejected) in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def provenance_of(**changes: Any) -> Provenance:
    known = Provenance(
        dataset={
            "source": "someone/pairs",
            "commit": "c0ffee",
            "config": None,
            "candidates": 80,
            "dropped": {"tie": 16, "missing_chosen": 4},
            "kept_with": {"repeats_prompt": 2},
        },
        backbone={"source": "data/sources/tiny", "files": {"config.json": "abc"}},
        near_duplicates={"train_pairs": 6},
        machine={"device": "CPU, 2 cores", "threads": 2, "torch": "2.13.0"},
        parameters={
            "dataset": "pairs",
            "backbone": "tiny",
            "download": {
                "quality": {"tie": "drop", "repeats_prompt": "count", "duplicate": "ignore"}
            },
            "split": {"near_duplicates": "count"},
            "train": {"learning_rate": None, "evaluate_steps": 0},
        },
        hashes={"data/model": "0123.dir"},
    )
    return replace(known, **changes)


def write_hostile_pairs(path: Path) -> Path:
    """Sixty pairs, one of them hostile, one long, one with directions to turn the text around."""
    texts = [
        ([{"role": "user", "content": f"Question {number}?"}], f"Good {number}.", f"Bad {number}.")
        for number in range(60)
    ]
    system = {"role": "<b>system</b>", "content": NASTY}
    texts[7] = ([system, {"role": "user", "content": NASTY}], NASTY, f"needle {NASTY}")
    texts[8] = ([{"role": "user", "content": "long"}], "word " * 5000, "x" * 20_000)
    texts[9] = ([{"role": "user", "content": "a\u202eb\x07"}], "שלום", "\u2066hidden")
    return write_pairs(path, texts)
