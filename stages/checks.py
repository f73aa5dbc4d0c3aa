"""checks: what choosing by reward gains, and what raises the reward without a better answer."""

from reward.harness.stage import run

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from reward.evaluation import markdown
from reward.evaluation.answers import Answers
from reward.evaluation.best_of_n_gain import gain_by_n
from reward.evaluation.edits import FILLER_AFTER, all_edits
from reward.evaluation.resampling import Bootstrap
from reward.evaluation.robustness import robustness
from reward.evaluation.scores import Array, Score, Scored
from reward.evaluation.settings import Checks
from reward.evaluation.style import LENGTH, style
from reward.harness.errors import InputError
from reward.harness.files import check_output, write_json
from reward.harness.params import Params, Seconds, Seed, TokenBudget
from reward.harness.results import write_metrics
from reward.harness.tables import read_batches, read_table
from reward.pairs.preference import Message
from reward.scoring.devices import best_device, keep_freed_memory
from reward.scoring.processes import joined_processes
from reward.scoring.quiet import quiet_transformers
from reward.scoring.scorer import score_everywhere
from reward.serving.model import RewardModel
from reward.serving.questions import MANY, Question
from reward.tokens.records import numbered

BATCH_ROWS = 4096
LONGEST = 100_000  # characters of a pair that is edited: each of its versions is tokenised whole
COLUMNS = ["pair_id", "prompt", "chosen", "rejected"]


class ChecksParams(Params):
    """What checks reads of params.yaml."""

    seed: Seed
    process_timeout: Seconds
    checks: Checks


def checks(
    params: ChecksParams, model: Path, splits: Path, scores: Path, checks: Path, metrics: Path
) -> None:
    """Measure what choosing by reward gains, and what raises it without a better answer.

    model: folder that train wrote. splits: folder that split wrote. scores: folder that evaluate
    wrote. checks: JSON file for all that is found. metrics: JSON file for the headline figures.

    Best of n and style are measured on all validation pairs, by the rewards that evaluate found;
    edits are tried on a sample of them. The same inputs give the same bytes.
    """
    for output in (checks, metrics):
        check_output(output)
    keep_freed_memory()
    quiet_transformers()
    settings = params.checks
    table = read_table(scores / "validation.parquet")
    texts = _read(splits / "validation.parquet", table, settings.pairs, params.seed)
    edits = all_edits(settings.filler_sentences)
    with joined_processes(best_device(), params.process_timeout) as state:
        rewards = _score(model, texts.sample, [*edits.values()], settings.micro_batch_tokens)
        if not state.is_main_process:
            return
    # Within prompts, as rewards of different prompts have no common zero: that of two answers is
    # their margin / sqrt(2). A constant model has no spread: its changes stand as they are.
    scored = Scored.of(table)
    spread = float(np.sqrt((scored.margin**2).mean() / 2)) or 1.0
    bootstrap = Bootstrap(settings.confidence, settings.resamples, params.seed)
    answers = Answers.of(table, scored.prompt, texts.answer, texts.formats)
    prompt = scored.prompt[list(texts.sample)]
    found = {
        "settings": settings.model_dump(),
        "best_of_n": gain_by_n(answers, bootstrap),
        "style": style(answers, spread, bootstrap),
        "edits": robustness(list(edits), rewards[0], rewards[1:], prompt, spread, bootstrap),
    }
    write_json(checks, found)
    write_metrics(metrics, _headlines(found))


class Texts(NamedTuple):
    """What is kept of the validation pairs' texts, in the order of their scores."""

    answer: Array  # (pairs, 2), chosen first; equal numbers are one text and one prompt
    formats: Array  # (pairs, 2, formats), bool
    sample: dict[int, dict[str, Any]]  # some pairs, by their row


def _read(path: Path, scores: pa.Table, sample: int, seed: int) -> Texts:
    """path: the pairs, of which those are read that have scores. sample: how many are drawn, of
    which those are kept whose texts have no more than LONGEST characters.
    """
    pairs = scores.num_rows
    rows = {name: row for row, name in enumerate(scores[Score.PAIR_ID].to_pylist())}
    draws = np.random.default_rng(seed)
    drawn = set(draws.choice(pairs, min(sample, pairs), replace=False).tolist())
    prompts = scores[Score.PROMPT_ID].to_pylist()
    names = [""] * (2 * pairs)  # of the answers: of the prompt, then of the text
    has = np.zeros((pairs, 2, len(markdown.NAMES)), bool)
    texts = {}
    for batch in read_batches(path, BATCH_ROWS, COLUMNS):
        for pair in batch.to_pylist():
            row = rows.get(pair["pair_id"])
            if row is None:
                continue
            for side, name in enumerate(("chosen", "rejected")):
                text = blake2b(pair[name].encode(), digest_size=16).hexdigest()
                names[2 * row + side] = prompts[row] + text
                has[row, side] = markdown.formats(pair[name])
            said = [*(turn["content"] for turn in pair["prompt"]), pair["chosen"], pair["rejected"]]
            if row in drawn and sum(map(len, said)) <= LONGEST:
                texts[row] = pair
    answer = numbered(pa.chunked_array([names])).reshape(pairs, 2)
    return Texts(answer, has, dict(sorted(texts.items())))


def _score(
    model: Path,
    pairs: Mapping[int, dict[str, Any]],
    edits: Sequence[Callable[[str], str]],
    budget: TokenBudget,
) -> Array:
    """Rewards by version, the answers as they are and then after each edit: (versions, pairs, 2).

    All versions of a pair are cut together and keep the same tokens of the prompt. One of which the
    model reads the same tokens as without the edit (the change was cut off, or the chat template
    drops it) has NaN. In every process the rewards of all.
    """
    if not pairs:
        return np.empty((len(edits) + 1, 0, 2))
    questions, places = [], []
    for pair in pairs.values():
        sides = [pair["chosen"], pair["rejected"]]
        versions = [sides, *([edit(text) for text in sides] for edit in edits)]
        distinct = {text: place for place, text in enumerate(dict.fromkeys(chain(*versions)))}
        prompt = tuple(Message(**turn) for turn in pair["prompt"])
        questions.append(Question(prompt, tuple(distinct), MANY))
        places.append([[distinct[text] for text in version] for version in versions])
    opened = RewardModel.open(model, budget=budget)
    groups = [opened.group(encoded) for encoded in opened.encode(questions)]
    opened.scorer.share_prefixes(groups)
    rewards = score_everywhere(opened.scorer, groups, opened.budget, "checks")
    by_pair = [own[place] for own, place in zip(rewards, places, strict=True)]
    found = np.stack(by_pair, axis=1).astype(np.float64)
    if not np.isfinite(found).all():
        raise InputError(
            "An edited answer has a reward that is not finite: train the model again with a lower "
            "learning_rate."
        )
    for row, (group, place) in enumerate(zip(groups, places, strict=True)):
        ids = [sequence.tobytes() for sequence in group.sequences]
        for version, side in np.ndindex(len(place) - 1, 2):
            if ids[place[version + 1][side]] == ids[place[0][side]]:
                found[version + 1, row, side] = np.nan
    return found


def _headlines(found: dict[str, Any]) -> dict[str, Any]:
    """The figures by which runs are compared, as far as there are any."""
    figures = {f"best_of_{row['n']}": row["gain"] for row in found["best_of_n"] if row["n"] > 1}
    named = {LENGTH: "length_doubled", FILLER_AFTER: "filler"}
    figures |= {
        named[r["name"]]: r["effect"] for r in found["style"]["effects"] if r["name"] in named
    }
    figures |= {named[r["name"]]: r["change"] for r in found["edits"] if r["name"] in named}
    return {name: figure["mean"] for name, figure in figures.items()}


if __name__ == "__main__":
    run(checks, ChecksParams)
