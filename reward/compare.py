"""Is the difference between two revisions real? `python -m reward.compare REV_A [REV_B]`.

Reads both revisions' scores of the validation pairs, matches them pair by pair and tests the
difference, with all pairs of a prompt as one draw. Where there are datasets of a mix or further
test sets, the accuracies on each, and on their subsets, follow. A revision is a branch, tag, commit
or experiment name, or `workspace`. With --seeds both sides are several runs that differ in
`train.seed` alone: revisions with commas between them, or NAME for the experiments NAME-1, NAME-2,
... that one `dvc exp run --queue -n NAME` made.
"""

from reward.harness.endings import ends_in_a_sentence

import argparse
import json
from typing import Any

import numpy as np

from reward.evaluation.accuracies import describe_sets, read_sets
from reward.evaluation.comparison import compare, match
from reward.evaluation.groups import (
    Group,
    describe_group,
    describe_settings,
    differences,
    read_group,
    revisions_of,
)
from reward.evaluation.metrics import credit
from reward.evaluation.revisions import WORKSPACE, read_scores
from reward.evaluation.seeds import difference, verdict
from reward.harness.errors import InputError

MEASURES = {"accuracy": "accuracy", "log_loss": "log loss"}


def main() -> None:
    """The command line."""
    with ends_in_a_sentence("compare"):
        print(_compared(_options()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m reward.compare",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("rev_a", metavar="REV_A", help="the revision to compare with")
    parser.add_argument(
        "rev_b",
        metavar="REV_B",
        nargs="?",
        default=WORKSPACE,
        help="the revision that is compared with it",
    )
    parser.add_argument(
        "--scores",
        default="data/scores/validation.parquet",
        help="the scores' file in both revisions",
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="level of the intervals")
    parser.add_argument("--resamples", type=int, default=10_000, help="samples of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the bootstrap")
    parser.add_argument(
        "--top", type=int, default=10, help="how many pairs to show that became right or wrong"
    )
    parser.add_argument("--seeds", action="store_true", help="both sides are runs of several seeds")
    parser.add_argument(
        "--intersection",
        action="store_true",
        help="use the pairs that both have, where they differ",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    options = parser.parse_args()
    least = min(options.top, options.seed, options.resamples - 1)
    if not 0 < options.confidence < 1 or least < 0:
        parser.error(
            "--confidence is between 0 and 1, --resamples at least 1, --top and --seed at least 0"
        )
    return options


def _compared(options: argparse.Namespace) -> str:
    if options.seeds:
        sides = [revisions_of(name) for name in (options.rev_a, options.rev_b)]
        if [len(revisions) for revisions in sides] != [1, 1]:
            return _compared_groups(options, *sides)
        [options.rev_a], [options.rev_b] = sides
    a = read_scores(options.rev_a, options.scores)
    b = read_scores(options.rev_b, options.scores)
    found = compare(
        *match(a, b, intersection=options.intersection),
        confidence=options.confidence,
        resamples=options.resamples,
        seed=options.seed,
        top=options.top,
    )
    sets = read_sets(options.rev_a, options.rev_b, options.scores)
    result = {"rev_a": options.rev_a, "rev_b": options.rev_b, **found, "sets": sets}
    if options.json:
        return json.dumps(result, indent=2, allow_nan=False)
    return "\n".join([describe(result), *describe_sets(sets, options.rev_a, options.rev_b)])


def _compared_groups(
    options: argparse.Namespace, revisions_a: list[str], revisions_b: list[str]
) -> str:
    tables = [read_scores(rev, options.scores) for rev in [*revisions_a, *revisions_b]]
    for name, revisions in ((options.rev_a, revisions_a), (options.rev_b, revisions_b)):
        if len(revisions) == 1:
            raise InputError(
                f"{name} is one run, which does not show what its seed does: give both sides at "
                f"least two, or leave --seeds out."
            )
    a, b = read_group(revisions_a), read_group(revisions_b)
    pair_ids, prompt, *margins = match(*tables, intersection=options.intersection)
    prompts = len(np.unique(prompt))
    if prompts == 1:
        raise InputError("all validation pairs are of one prompt: --seeds needs at least two.")
    margin_a, margin_b = np.stack(margins[: len(a.seeds)]), np.stack(margins[len(a.seeds) :])
    settings = {
        "confidence": options.confidence,
        "resamples": options.resamples,
        "seed": options.seed,
    }
    loss_a, loss_b = np.logaddexp(0, -margin_a), np.logaddexp(0, -margin_b)
    result = {
        "pairs": len(pair_ids),
        "prompts": prompts,
        "confidence": options.confidence,
        "accuracy": difference(credit(margin_a), credit(margin_b), prompt, **settings),
        "log_loss": difference(loss_a, loss_b, prompt, **settings),
    }
    if not options.json:
        return describe_groups(a, b, result)
    sides = {
        side: dict(zip(group.revisions, group.seeds, strict=True))
        for side, group in (("seeds_a", a), ("seeds_b", b))
    }
    differ = {key: [one, other] for key, one, other in differences(a.settings, b.settings)}
    result = {"rev_a": options.rev_a, "rev_b": options.rev_b, **sides, "settings": differ, **result}
    return json.dumps(result, indent=2, allow_nan=False)


def describe(result: dict[str, Any]) -> str:
    """The result of `compare` with the names of both revisions, as text for a terminal."""
    rows = [("", result["rev_a"], result["rev_b"], f"difference ({100 * result['confidence']:g}%)")]
    for name, label in MEASURES.items():
        low, high = result[f"{name}_difference_low"], result[f"{name}_difference_high"]
        interval = "" if low is None else f"  [{low:+.4f}, {high:+.4f}]"
        change = f"{result[f'{name}_difference']:+.4f}{interval}"
        rows.append((label, f"{result[f'{name}_a']:.4f}", f"{result[f'{name}_b']:.4f}", change))
    lines = _columns(rows)
    lines += [
        "",
        f"{_counted(result)}, both agree on {result['agreement']:.1%}; "
        f"{result['better']} became better, {result['worse']} worse "
        f"(McNemar's exact p = {result['mcnemar_p']:.3g})",
    ]
    flips = result["flips"]
    width = max([len("flipped pair"), *(len(flip["pair_id"]) for flip in flips)])
    if flips:
        lines += ["", f"{'flipped pair':<{width}}  margin A  margin B"]
    lines += [
        f"{flip['pair_id']:<{width}}  {flip['margin_a']:+8.3f}  {flip['margin_b']:+8.3f}"
        for flip in flips
    ]
    return "\n".join(lines)


def describe_groups(a: Group, b: Group, result: dict[str, Any]) -> str:
    """The result for two groups of runs, as text for a terminal."""
    rows = [("", "A", "B", f"difference ({100 * result['confidence']:g}%)")]
    verdicts = []
    for name, label in MEASURES.items():
        found = result[name]
        interval = f"[{found['difference_low']:+.4f}, {found['difference_high']:+.4f}]"
        rows.append(
            (
                label,
                f"{found['a']:.4f} ± {found['spread_a']:.4f}",
                f"{found['b']:.4f} ± {found['spread_b']:.4f}",
                f"{found['difference']:+.4f}  {interval}",
            )
        )
        verdicts.append(f"{label}: {verdict(found)}")
    return "\n".join(
        [
            describe_group("A", a),
            describe_group("B", b),
            describe_settings(a, b),
            "",
            *_columns(rows),
            "",
            f"{_counted(result)}; mean ± standard deviation over the seeds",
            *verdicts,
        ]
    )


def _counted(result: dict[str, Any]) -> str:
    pairs, prompts = result["pairs"], result["prompts"]
    return f"{pairs} pairs" if pairs == prompts else f"{pairs} pairs of {prompts} prompts"


def _columns(rows: list[tuple[str, str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"{label:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}  {change}".rstrip()
        for label, a, b, change in rows
    ]


if __name__ == "__main__":
    main()
