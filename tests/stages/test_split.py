"""stages.split: whole prompts on one side, the same ones for the same pairs and seed."""

import json
import random
from dataclasses import replace
from itertools import combinations, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.harness.errors import InputError
from reward.pairs.preference import Message, Preference, prompt_key, to_batch
from reward.pairs.settings import Action, Split
from stages import split as stage
from stages.split import SplitParams, split, validation_groups

SIDES = ("train", "validation")


def pairs_of(prompts: list[str]) -> list[Preference]:
    return [
        Preference((Message("user", prompt),), f"good {number}", f"bad {number}", 2.0, None)
        for number, prompt in enumerate(prompts)
    ]


def run(
    folder: Path,
    pairs: list[Preference],
    share: float = 0.2,
    seed: int = 42,
    near_duplicates: Action = "ignore",
) -> Path:
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_batches([to_batch(pairs, "made")]), folder / "raw/pairs.parquet")
    section = Split(validation_share=share, near_duplicates=near_duplicates, similarity=0.8)
    params = SplitParams(seed=seed, split=section)
    split(params, folder / "raw", folder / "splits")
    return folder / "splits"


def rows(splits: Path, side: str) -> list[dict[str, Any]]:
    return pq.read_table(splits / f"{side}.parquet").to_pylist()


def test_the_published_counts() -> None:
    groups = np.random.default_rng(0).permutation(8678).astype(np.uint64)
    assert len(validation_groups(groups, 0.2)) == 1736  # and 8,678 - 1,736 = 6,942 to train


def test_every_pair_is_on_one_side_sorted_by_pair_id(tmp_path: Path) -> None:
    pairs = pairs_of([f"prompt {number // 3}" for number in range(300)])
    splits = run(tmp_path, pairs)
    train, validation = (rows(splits, side) for side in SIDES)
    assert (len(train), len(validation)) == (240, 60)
    for side in (train, validation):
        assert all(one["pair_id"] < other["pair_id"] for one, other in pairwise(side))
    by_id = {row["pair_id"]: row for row in to_batch(pairs, "made").to_pylist()}
    assert {row["pair_id"]: row for row in train + validation} == by_id


def test_prompts_that_differ_by_case_and_white_space_stay_together(tmp_path: Path) -> None:
    prompts = [form for n in range(40) for form in (f"Ask {n}", f"ask  {n}\n", f" ASK\t{n}")]
    splits = run(tmp_path, pairs_of(prompts), share=0.5)
    keys = [
        {prompt_key((turn["role"], turn["content"]) for turn in row["prompt"]) for row in side}
        for side in (rows(splits, side) for side in SIDES)
    ]
    assert [len(side) for side in keys] == [20, 20]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("partition_rows", [50_000, 16])
def test_row_order_and_partition_size_do_not_change_a_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partition_rows: int
) -> None:
    pairs = pairs_of([f"prompt {number // 2}" for number in range(500)])
    expected = run(tmp_path / "expected", pairs)
    monkeypatch.setattr(stage, "PARTITION_ROWS", partition_rows)
    random.Random(1).shuffle(pairs)
    shuffled = run(tmp_path / "shuffled", pairs)
    for side in SIDES:
        one, other = (folder / f"{side}.parquet" for folder in (expected, shuffled))
        assert pq.read_table(one).equals(pq.read_table(other))
        assert partition_rows == 16 or one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in (tmp_path / "shuffled").iterdir()) == ["raw", "splits"]


def test_the_seed_decides_which_prompts_are_held_out(tmp_path: Path) -> None:
    pairs = pairs_of([f"prompt {number}" for number in range(100)])
    held_out = [
        {row["pair_id"] for row in rows(run(tmp_path / str(index), pairs, seed=seed), "validation")}
        for index, seed in enumerate((1, 2, 1))
    ]
    assert held_out[0] == held_out[2] != held_out[1]


@given(st.lists(st.integers(0, 8), min_size=2).filter(lambda x: len(set(x)) > 1), st.floats(0, 1))
def test_the_share_is_met_as_closely_as_whole_prompts_allow(ids: list[int], share: float) -> None:
    groups = np.array(ids, dtype=np.uint64)
    held_out = validation_groups(groups, share)
    count = np.isin(groups, held_out).sum()
    target = min(max(round(share * len(ids)), 1), len(ids) - 1)
    assert 0 < len(held_out) < len(set(ids))
    smallest = np.unique(groups, return_counts=True)[1].min()
    left = np.unique(groups[~np.isin(groups, held_out)], return_counts=True)[1]
    # Within the target, nothing that is left would fit; over it, by less than without that group.
    assert count > target or left.min() > target - count or len(left) == 1
    assert count <= target or count == smallest or count - target < target


def test_a_group_too_large_for_the_share_is_passed_over() -> None:
    # Pairs per group: 0 has 6, 1 has 1, 2 has 1, 3 has 2; a fifth of 10 pairs is 2.
    groups = np.array([0] * 6 + [1, 2, 3, 3], dtype=np.uint64)
    assert validation_groups(groups, 0.2).tolist() == [1, 2]


def test_a_group_over_the_share_is_taken_where_that_is_closer() -> None:
    # Three groups of 10 and a target of round(0.3 * 30) = 9: ten is closer than none.
    groups = np.repeat(np.arange(3, dtype=np.uint64), 10)
    assert len(validation_groups(groups, 0.3)) == 1


def test_one_prompt_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="All pairs have the same prompt"):
        run(tmp_path, pairs_of(["Why?", " why?"]))
    assert not (tmp_path / "splits").exists()


def near_pairs() -> list[Preference]:
    """200 prompts of 60 words; a further 40 differ from one of them by the last word."""
    draw = random.Random(3)
    words = [" ".join(str(draw.randrange(10_000)) for _ in range(59)) for _ in range(200)]
    return pairs_of([f"{text} end" for text in words] + [f"{text} stop" for text in words[:40]])


def twins_across(splits: Path) -> int:
    """Training prompts that differ from one of validation by no more than the last word."""
    begins = [
        [row["prompt"][0]["content"].rpartition(" ")[0] for row in rows(splits, side)]
        for side in SIDES
    ]
    return sum(begin in begins[1] for begin in begins[0])


def test_near_duplicates_across_the_split_are_counted_or_dropped(tmp_path: Path) -> None:
    counted = run(tmp_path / "counted", near_pairs(), near_duplicates="count")
    dropped = run(tmp_path / "dropped", near_pairs(), near_duplicates="drop")
    twins = twins_across(counted)
    assert twins > 5
    assert twins_across(dropped) == 0
    assert len(rows(dropped, "train")) == len(rows(counted, "train")) - twins
    assert rows(dropped, "validation") == rows(counted, "validation")
    record = json.loads((counted / "near_duplicates.json").read_text())
    assert record == {
        "similarity": 0.8,
        "train_pairs": twins,
        "share_of_train": twins / 192,
        "validation_pairs": twins,
        "share_of_validation": twins / 48,
        "dropped": 0,
    }
    assert json.loads((dropped / "near_duplicates.json").read_text()) == record | {"dropped": twins}


def test_row_order_does_not_change_what_is_near(tmp_path: Path) -> None:
    pairs = near_pairs()
    expected = run(tmp_path / "expected", pairs, near_duplicates="drop")
    random.Random(1).shuffle(pairs)
    shuffled = run(tmp_path / "shuffled", pairs, near_duplicates="drop")
    for path in expected.iterdir():
        assert path.read_bytes() == (shuffled / path.name).read_bytes()


def test_near_duplicates_alone_leave_nothing_to_train_on(tmp_path: Path) -> None:
    text = " ".join(map(str, range(60)))
    with pytest.raises(InputError, match=r"set split\.near_duplicates to count"):
        run(tmp_path, pairs_of([f"{text} end", f"{text} stop"]), near_duplicates="drop")
    assert not (tmp_path / "splits").exists()


def test_kept_duplicates_do_not_make_the_output_depend_on_the_order(tmp_path: Path) -> None:
    pairs = pairs_of(["One?", "Two?", "Three?"])
    twice = [*pairs, *(replace(pair, chosen_rating=1.0) for pair in pairs)]
    one, other = run(tmp_path / "one", twice), run(tmp_path / "other", twice[::-1])
    for side in SIDES:
        assert rows(one, side) == rows(other, side)


def ranked_pairs(prompts: int) -> list[Preference]:
    """All pairs of two to five rated answers to each prompt."""
    return [
        Preference((Message("user", f"prompt {n}"),), f"answer {i}", f"answer {j}", -i, -j)
        for n in range(prompts)
        for i, j in combinations(range(n % 4 + 2), 2)
    ]


@pytest.mark.parametrize("partition_rows", [50_000, 16])
def test_pairs_that_share_a_rated_answer_stand_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partition_rows: int
) -> None:
    monkeypatch.setattr(stage, "PARTITION_ROWS", partition_rows)
    pairs = ranked_pairs(60)
    random.Random(1).shuffle(pairs)
    splits = run(tmp_path, pairs)
    found = 0
    for side in SIDES:
        prompts = [row["prompt"][0]["content"] for row in rows(splits, side)]
        runs = [name for name, _ in groupby(prompts)]
        assert len(runs) == len(set(runs)) > 3
        firsts = []
        for _, group in groupby(rows(splits, side), key=lambda row: row["prompt"]):
            ids = [row["pair_id"] for row in group]
            assert ids == sorted(ids)
            firsts.append(ids[0])
        assert firsts == sorted(firsts)
        found += len(prompts)
    assert found == len(pairs) == 15 * (1 + 3 + 6 + 10)


def test_another_prompt_or_rating_or_none_parts_pairs(tmp_path: Path) -> None:
    """By pair_id alone, as if no pair had anything in common."""
    pairs = [
        pair
        for n in range(100)
        for pair in (
            Preference((Message("user", f"prompt {n}"),), "answer", f"{n}", 3.0, 1.0),
            Preference((Message("user", f"prompt {n}"),), "answer", f"other {n}", 2.0, 1.0),
            Preference((Message("user", f"Prompt {n}"),), "answer", f"{n}", 3.0, 1.0),
            Preference((Message("user", f"prompt {n}"),), "none", "rated", None, None),
            Preference((Message("user", f"prompt {n}"),), "none", "rated either", None, None),
        )
    ]
    splits = run(tmp_path, pairs)
    for side in SIDES:
        ids = [row["pair_id"] for row in rows(splits, side)]
        assert ids == sorted(ids)
