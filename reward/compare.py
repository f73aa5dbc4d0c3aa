"""Is the difference between two revisions real? `python -m reward.compare REV_A [REV_B]`.

Reads both revisions' scores of the validation pairs, matches them pair by pair and tests the
difference. A revision is a branch, tag, commit or experiment name, or `workspace`.
"""

from reward.harness.endings import ends_in_a_sentence

import argparse
import io
import json
from typing import Any

import dvc.api
import numpy as np
import pyarrow as pa
from dvc.scm import SCMError
from dvc_data.index import DataIndexError
from scipy import stats

from reward.evaluation.metrics import credit, log_loss, mcnemar
from reward.evaluation.scores import Array, Score
from reward.harness.errors import InputError, first_line
from reward.harness.tables import open_parquet

WORKSPACE = "workspace"
COLUMNS = [Score.PAIR_ID, Score.CHOSEN_SCORE, Score.REJECTED_SCORE]


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
    parser.add_argument("rev_b", metavar="REV_B", nargs="?", default=WORKSPACE, help="the other")
    parser.add_argument("--scores", default="data/scores/validation.parquet", help="in both")
    parser.add_argument("--confidence", type=float, default=0.95, help="level of the intervals")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--top", type=int, default=10, help="flipped pairs to show")
    parser.add_argument("--intersection", action="store_true", help="use the common pairs only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    least = min(options.top, options.seed, options.resamples - 1)
    if not 0 < options.confidence < 1 or least < 0:
        parser.error(
            "--confidence is between 0 and 1, --resamples at least 1, --top and --seed at least 0"
        )
    return options


def _compared(options: argparse.Namespace) -> str:
    a = read_scores(options.rev_a, options.scores)
    b = read_scores(options.rev_b, options.scores)
    pair_ids, margin_a, margin_b = match(a, b, intersection=options.intersection)
    difference = compare(
        pair_ids,
        margin_a,
        margin_b,
        confidence=options.confidence,
        resamples=options.resamples,
        seed=options.seed,
        top=options.top,
    )
    result = {"rev_a": options.rev_a, "rev_b": options.rev_b, **difference}
    return json.dumps(result, indent=2, allow_nan=False) if options.json else describe(result)


def read_scores(rev: str, path: str) -> pa.Table:
    """The columns COLUMNS of the scores that the project in the current folder has at `rev`.

    Raises InputError with the cure where the revision is unknown, never made scores, or has them
    in neither the cache nor a remote.
    """
    try:
        files = dvc.api.DVCFileSystem(rev=None if rev == WORKSPACE else rev)
        content = files.cat_file(path)
    except SCMError:
        raise InputError(
            f"{rev} is no branch, tag, commit or experiment of this project: "
            f"take a name that `git log --all` or `dvc exp list --all-commits` shows."
        ) from None
    except (DataIndexError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) and not files.exists(path):
            raise InputError(
                f"{rev} has no {path}: take another revision, or {_checkout(rev)}"
                f"run `dvc repro` and compare with {WORKSPACE}."
            ) from None
        raise InputError(
            f"{path} of {rev} is in neither the cache nor a remote: "
            f"{_checkout(rev)}run `dvc pull`, or `dvc repro` to make it again."
        ) from None
    try:
        return open_parquet(io.BytesIO(content)).read().select(COLUMNS)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InputError(
            f"{path} of {rev} is no parquet file with the columns {', '.join(COLUMNS)}, or a "
            f"damaged one ({first_line(error)}): {_checkout(rev)}run `dvc repro --force evaluate`."
        ) from None


def _checkout(rev: str) -> str:
    if rev == WORKSPACE:
        return ""
    return f"`git checkout {rev}` (`dvc exp apply {rev}` for an experiment), "


def match(a: pa.Table, b: pa.Table, *, intersection: bool) -> tuple[Array, Array, Array]:
    """Pair ids in rising order and both sides' margins of these pairs, each of shape (pairs,).

    Raises InputError for different validation sets, unless `intersection` asks for the pairs that
    are in both, and for sets that have none in common.
    """
    ids_a, margin_a = _by_id(a)
    ids_b, margin_b = _by_id(b)
    if np.array_equal(ids_a, ids_b):
        return ids_a, margin_a, margin_b
    common, rows_a, rows_b = np.intersect1d(ids_a, ids_b, return_indices=True)
    if len(common) == 0:
        raise InputError(
            "the two revisions have no validation pair in common: "
            "compare revisions of the same dataset."
        )
    if not intersection:
        raise InputError(
            f"the validation sets differ ({len(ids_a)} and {len(ids_b)} pairs, {len(common)} in "
            f"common): compare revisions of the same split, or pass --intersection."
        )
    return common, margin_a[rows_a], margin_b[rows_b]


def _by_id(scores: pa.Table) -> tuple[Array, Array]:
    table = scores.sort_by(Score.PAIR_ID)
    margin = table[Score.CHOSEN_SCORE].to_numpy() - table[Score.REJECTED_SCORE].to_numpy()
    return table[Score.PAIR_ID].to_numpy().astype(str), margin


def compare(
    pair_ids: Array,
    margin_a: Array,
    margin_b: Array,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    top: int,
) -> dict[str, Any]:
    """What changed from A to B, for matched arrays of shape (pairs,); differences are B - A.

    The accuracy difference comes with its paired bootstrap interval, the log loss difference with
    its paired t interval (Student 1908; None for a single pair). `better`, `worse` and `mcnemar_p`
    are those of `reward.evaluation.metrics.mcnemar`. `agreement` is the share of pairs that both
    order alike, a tie being an order of its own. A pair flipped if its order changed; `flips` holds
    the `top` ones whose margins moved furthest.
    """
    right_a, right_b = credit(margin_a), credit(margin_b)
    better, worse, p = mcnemar(right_a, right_b)
    low, high = bootstrap(right_b - right_a, confidence, resamples, seed)
    flipped = np.flatnonzero(right_a != right_b)
    furthest = flipped[np.argsort(-np.abs(margin_b - margin_a)[flipped], kind="stable")]
    return {
        "pairs": len(pair_ids),
        "confidence": confidence,
        "accuracy_a": float(right_a.mean()),
        "accuracy_b": float(right_b.mean()),
        "accuracy_difference": float((right_b - right_a).mean()),
        "accuracy_difference_low": low,
        "accuracy_difference_high": high,
        "mcnemar_p": p,
        "agreement": float((right_a == right_b).mean()),
        "better": better,
        "worse": worse,
        "log_loss_a": log_loss(margin_a),
        "log_loss_b": log_loss(margin_b),
        **_log_loss_difference(margin_a, margin_b, confidence),
        "flips": [
            {
                "pair_id": str(pair_ids[row]),
                "margin_a": float(margin_a[row]),
                "margin_b": float(margin_b[row]),
            }
            for row in furthest[:top]
        ],
    }


def bootstrap(
    differences: Array, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences (Efron 1979; Efron and Tibshirani 1993,
    section 13.3).

    A resample draws as many pairs as there are, with replacement. Credits differ by one of only
    five values (-1, -1/2, 0, 1/2, 1), so how often each value is drawn is a multinomial variable:
    the same distribution as drawing pairs, in memory and time that do not grow with their number.
    """
    values, counts = np.unique(differences, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(
        len(differences), counts / len(differences), size=resamples
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws @ values / len(differences), [tail, 1 - tail])
    return float(low), float(high)


def _log_loss_difference(
    margin_a: Array, margin_b: Array, confidence: float
) -> dict[str, float | None]:
    differences = np.logaddexp(0, -margin_b) - np.logaddexp(0, -margin_a)
    mean, degrees = float(differences.mean()), len(differences) - 1
    low = high = None
    if degrees:
        error = float(differences.std(ddof=1)) / np.sqrt(len(differences))
        spread = float(stats.t.ppf((1 + confidence) / 2, degrees) * error)
        low, high = mean - spread, mean + spread
    return {
        "log_loss_difference": mean,
        "log_loss_difference_low": low,
        "log_loss_difference_high": high,
    }


def describe(result: dict[str, Any]) -> str:
    """The result of `compare` with the names of both revisions, as text for a terminal."""
    rows = [("", result["rev_a"], result["rev_b"], f"difference ({100 * result['confidence']:g}%)")]
    for name, label in (("accuracy", "accuracy"), ("log_loss", "log loss")):
        low, high = result[f"{name}_difference_low"], result[f"{name}_difference_high"]
        interval = "" if low is None else f"  [{low:+.4f}, {high:+.4f}]"
        difference = f"{result[f'{name}_difference']:+.4f}{interval}"
        a, b = f"{result[f'{name}_a']:.4f}", f"{result[f'{name}_b']:.4f}"
        rows.append((label, a, b, difference))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{label:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}  {difference}".rstrip()
        for label, a, b, difference in rows
    ]
    lines += [
        "",
        f"{result['pairs']} pairs, both agree on {result['agreement']:.1%}; "
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


if __name__ == "__main__":
    main()
