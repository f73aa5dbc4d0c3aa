"""stages.stats: figures and histograms by hand, and the picture that DVC makes of them."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vl_convert
from dvc_render.vega import VegaRenderer
from hypothesis import given
from hypothesis import strategies as st

import stages.stats
from reward.harness.tables import parquet_writer
from reward.tokens.lengths import measure, quantile
from reward.tokens.records import LeftOut, TokenSettings
from reward.tokens.settings import Stats
from stages.stats import StatsParams, stats

ROOT = Path(__file__).parents[2]
MAX_LENGTH = 100


def record(
    lengths: tuple[int, int, int],
    kept: tuple[int, int],
    shared: int,
    ratings: tuple[float | None, float | None],
) -> dict[str, Any]:
    """A token record; of its ids only the number matters here."""
    return {
        "pair_id": "0" * 32,
        "prompt_id": "1" * 32,
        "chosen_ids": [0] * kept[0],
        "rejected_ids": [0] * kept[1],
        "prefix_length": 0,
        "prompt_tokens": lengths[0],
        "chosen_tokens": lengths[1],
        "rejected_tokens": lengths[2],
        "shared_tokens": shared,
        "chosen_rating": ratings[0],
        "rejected_rating": ratings[1],
    }


TRAIN = [
    record((10, 20, 30), kept=(30, 40), shared=12, ratings=(3.0, 2.5)),
    record((64, 50, 20), kept=(100, 70), shared=70, ratings=(4.0, 1.0)),
    record((200, 90, 90), kept=(100, 100), shared=210, ratings=(None, 1.0)),
]
VALIDATION = [record((127, 10, 128), kept=(22, 100), shared=127, ratings=(None, None))]


def write(
    folder: Path,
    train: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    split: int,
    near: int = 0,
) -> None:
    """What the stages before leave; `split` is how many pairs went to train after `near` were
    dropped for near duplicates.
    """
    for name in ("raw", "splits", "tokens"):
        (folder / name).mkdir()
    dropped = {"empty": 1, "tie": 2}
    source = {"candidates": 9, "pairs": split + 1, "dropped": dropped, "kept_with": {"bells": 3}}
    (folder / "raw/source.json").write_text(json.dumps(source))
    (folder / "splits/near_duplicates.json").write_text(json.dumps({"dropped": near}))
    schema = TokenSettings(MAX_LENGTH, 0.25).schema()
    for side, rows in (("train", train), ("validation", validation)):
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"tokens/{side}.parquet")
    for side, number in (("train", split), ("validation", 1)):
        ids = pa.table({"pair_id": ["0"] * number})
        pq.write_table(ids, folder / f"splits/{side}.parquet")


def run(folder: Path, bin_width: int = 16, last_bin: int = 64) -> dict[str, Any]:
    stats(
        StatsParams(stats=Stats(bin_width=bin_width, last_bin=last_bin)),
        folder / "raw",
        folder / "splits",
        folder / "tokens",
        folder / "stats.json",
        folder / "details.json",
        folder / "lengths.csv",
    )
    return json.loads((folder / "details.json").read_text())


def test_what_tokenize_left_out_is_counted(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, VALIDATION, split=6, near=1)
    kept_with = Counter({"answer_text_left_out": 2, "prompt_text_left_out": 1})
    notes = LeftOut(same_tokens=1, refused=2, kept_with=kept_with).notes()
    for side, rows in (("train", TRAIN), ("validation", VALIDATION)):
        schema = TokenSettings(MAX_LENGTH, 0.25).schema()
        with parquet_writer(tmp_path / f"tokens/{side}.parquet", schema) as sink:
            sink.write_table(pa.Table.from_pylist(rows, schema))
            if side == "train":
                sink.add_key_value_metadata(notes)
    figures = run(tmp_path)
    # 6 + 1 pairs were split, 3 + 1 tokenised, 2 refused.
    dropped = {"near_duplicate": 1, "same_tokens": 1, "refused_by_the_chat_template": 2}
    assert figures["pairs"]["dropped"] == {"empty": 1, "tie": 2, **dropped}
    assert figures["kept_with"] == {"bells": 3, **kept_with}


def test_figures_by_hand(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, VALIDATION, split=4, near=1)
    assert run(tmp_path) == {
        "pairs": {
            "total": 9,
            "kept": 4,
            "train": 3,
            "validation": 1,
            # 4 + 1 pairs were split and 3 + 1 tokenised.
            "dropped": {"empty": 1, "tie": 2, "near_duplicate": 1, "same_tokens": 1},
        },
        "kept_with": {"bells": 3},
        "near_duplicates": {"dropped": 1},
        "tokens": {
            "prompt": {  # 10, 64, 127, 200
                "mean": 401 / 4,
                "median": (64 + 127) / 2,
                "p95": pytest.approx(127 + 0.85 * 73),  # at 0.95 * 3 = 2.85
                "max": 200,
                "share_under_64": 0.25,
                "share_64_to_127": 0.5,
                "share_over_127": 0.25,
            },
            "chosen": {  # 10, 20, 50, 90
                "mean": 42.5,
                "median": 35.0,
                "p95": pytest.approx(50 + 0.85 * 40),
                "max": 90,
                "share_under_64": 0.75,
                "share_64_to_127": 0.25,
                "share_over_127": 0.0,
            },
            "rejected": {  # 20, 30, 90, 128
                "mean": 67.0,
                "median": 60.0,
                "p95": pytest.approx(90 + 0.85 * 38),
                "max": 128,
                "share_under_64": 0.5,
                "share_64_to_127": 0.25,
                "share_over_127": 0.25,
            },
            "prompt_cut": {  # 10, 64, 100, 100
                "mean": 68.5,
                "median": 82.0,
                "p95": 100.0,
                "max": 100,
                "share_under_64": 0.25,
                "share_64_to_127": 0.75,
                "share_over_127": 0.0,
            },
            "read": {  # 22, 30, 40, 70, 100, 100, 100, 100
                "mean": 70.25,
                "median": 85.0,
                "p95": 100.0,
                "max": 100,
                "share_under_64": 0.375,
                "share_64_to_127": 0.625,
                "share_over_127": 0.0,
            },
        },
        # 10 + 30 = 40 fits into 100, 64 + 50, 200 + 90 and 127 + 128 do not.
        "share_truncated": 0.75,
        "share_lost_if_dropped_when_too_long": 0.75,
        # The third and the fourth pair share 210 and 127 tokens.
        "share_identical_if_cut_on_the_right": 0.5,
        "ratings": {"pairs": 2, "mean_gap": (0.5 + 3.0) / 2},
    }


def test_headline_figures_by_hand(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, VALIDATION, split=4, near=1)
    figures = run(tmp_path)
    assert json.loads((tmp_path / "stats.json").read_text()) == {
        "pairs": figures["pairs"],
        "tokens": {
            "prompt_cut": {
                "mean": 68.5,
                "share_under_64": 0.25,
                "share_64_to_127": 0.75,
                "share_over_127": 0.0,
            },
            "read": {"mean": 70.25},
        },
        "share_truncated": 0.75,
        "ratings": {"mean_gap": 1.75},
    }


def test_histogram_by_hand(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, VALIDATION, split=3)
    run(tmp_path, bin_width=50, last_bin=120)
    with (tmp_path / "lengths.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["part", "tokens", "tokens_end", "share"],
        ["prompt", "0", "50", "0.25"],  # 10
        ["prompt", "50", "100", "0.25"],  # 64
        ["prompt", "100", "150", "0.5"],  # 127, and 200, which is longer than the last bar
        ["chosen", "0", "50", "0.5"],
        ["chosen", "50", "100", "0.5"],
        ["chosen", "100", "150", "0.0"],
        ["rejected", "0", "50", "0.5"],
        ["rejected", "50", "100", "0.25"],
        ["rejected", "100", "150", "0.25"],
    ]


def test_the_histogram_ends_with_the_longest_text(tmp_path: Path) -> None:
    write(tmp_path, TRAIN[:1], TRAIN[:1], split=1)
    run(tmp_path, bin_width=10, last_bin=1000)
    with (tmp_path / "lengths.csv").open(newline="") as file:
        bars = [
            (row["part"], row["tokens"]) for row in csv.DictReader(file) if row["share"] != "0.0"
        ]
    assert bars == [("prompt", "10"), ("chosen", "20"), ("rejected", "30")]
    assert len((tmp_path / "lengths.csv").read_text().splitlines()) == 1 + 3 * 4


def test_pairs_without_ratings_have_no_gap(tmp_path: Path) -> None:
    write(tmp_path, VALIDATION, VALIDATION, split=1)
    figures = run(tmp_path)
    assert figures["ratings"] == {"pairs": 0}
    assert figures["pairs"]["dropped"] == {"empty": 1, "tie": 2}


def test_the_result_does_not_depend_on_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, TRAIN * 5, VALIDATION, split=15)
    run(tmp_path)
    whole = [
        (tmp_path / name).read_bytes() for name in ("stats.json", "details.json", "lengths.csv")
    ]
    monkeypatch.setattr(stages.stats, "BATCH_ROWS", 2)
    run(tmp_path)
    assert whole == [
        (tmp_path / name).read_bytes() for name in ("stats.json", "details.json", "lengths.csv")
    ]


@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=60), share=st.floats(0, 1))
def test_counts_give_what_the_single_lengths_give(lengths: list[int], share: float) -> None:
    counts = np.bincount(lengths)
    assert quantile(counts, share) == pytest.approx(np.quantile(lengths, share), abs=1e-6)
    figures = measure(counts)
    assert figures["mean"] == pytest.approx(np.mean(lengths))
    assert figures["max"] == max(lengths)
    shares = [figures[f"share_{name}"] for name in ("under_64", "64_to_127", "over_127")]
    assert sum(shares) == pytest.approx(1)


def picture(folder: Path, revisions: list[str]) -> str:
    """The histogram as DVC fills its template for these revisions, drawn without a network."""
    with (folder / "lengths.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    renderer = VegaRenderer(
        [row | {"rev": revision} for revision in revisions for row in rows],
        "lengths",
        template="token_lengths",
        template_dir=str(ROOT / ".dvc/plots"),
        title="Lengths",
        x="tokens",
        x_label="tokens",
        y="share",
        y_label="pairs",
    )
    filled = renderer.get_filled_template()
    assert "DVC_METRIC" not in json.dumps(filled)
    return vl_convert.vegalite_to_svg(filled, allowed_base_urls=[])


def test_the_picture_tells_revisions_apart_on_a_numeric_axis(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, VALIDATION, split=3)
    run(tmp_path, bin_width=5, last_bin=200)
    one, two = picture(tmp_path, ["workspace"]), picture(tmp_path, ["workspace", "HEAD"])
    # As text, 100 would come before 80.
    assert one.index(">80<") < one.index(">100<") < one.index(">200<")
    for part in ("prompt", "chosen", "rejected"):
        assert f">{part}<" in one
    first, second = "#945dd6", "#13adc7"  # the colours that DVC gives to revisions
    assert first in one
    assert second not in one
    assert first in two
    assert second in two
    assert ">HEAD<" in two
