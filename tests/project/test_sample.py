"""The sample: reproducible, in the real data's schema, true where checkable, and no shortcut."""

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer

from data.sample.code import CODE
from data.sample.defects import Answer
from data.sample.kinds import KINDS, draw_sample
from data.sample.language import listing, phrase, sentence
from data.sample.pairs import Pair
from data.sample.ratings import attributes, rating
from data.sample.task import Draft, Task

SOURCES = Path("data/sources")
PAIRS = draw_sample()
ROWS = [json.loads(line) for line in (SOURCES / "sample.jsonl").read_text("utf-8").splitlines()]
TOKENIZER = Tokenizer.from_file(str(SOURCES / "tiny" / "tokenizer.json"))


def tokens(text: str) -> int:
    return len(TOKENIZER.encode(text).ids)


def by_kind() -> dict[str, list[Pair]]:
    kinds = defaultdict(list)
    for pair in PAIRS:
        kinds[pair.task.kind].append(pair)
    return dict(kinds)


def longer_wins(pairs: list[Pair]) -> float:
    lengths = [(tokens(pair.chosen.text), tokens(pair.rejected.text)) for pair in pairs]
    return sum((a > b) + (a == b) / 2 for a, b in lengths) / len(pairs)


def test_generator_gives_the_committed_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "data/make_sample.py", str(tmp_path / "sample.jsonl")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert (tmp_path / "sample.jsonl").read_bytes() == (SOURCES / "sample.jsonl").read_bytes()
    assert printed.splitlines()[-1].split()[:2] == ["all", str(len(ROWS))]


def test_rows_have_the_schema_of_the_binarized_helpsteer2() -> None:
    for row in ROWS:
        asked = {"content": row["prompt"], "role": "user"}
        assert list(row) == ["prompt", "chosen", "rejected", "chosen_rating", "rejected_rating"]
        for side in ("chosen", "rejected"):
            assert row[side][0] == asked
            assert [turn["role"] for turn in row[side]] == ["user", "assistant"]
            assert row[side][1]["content"].strip() == row[side][1]["content"] != ""
        assert row["chosen"][1]["content"] != row["rejected"][1]["content"]


def test_ratings_are_means_of_five_attributes_and_differ_as_in_the_real_data() -> None:
    for row in ROWS:
        better, worse = row["chosen_rating"], row["rejected_rating"]
        assert 0 <= worse < better <= 4
        assert better * 5 == pytest.approx(round(better * 5))
        assert worse * 5 == pytest.approx(round(worse * 5))
    gaps = [row["chosen_rating"] - row["rejected_rating"] for row in ROWS]
    assert 0.7 <= sum(gaps) / len(gaps) <= 0.9
    assert len({round(gap, 1) for gap in gaps}) >= 8


def test_about_two_thousand_pairs_of_many_kinds() -> None:
    counts = Counter(pair.task.kind for pair in PAIRS)
    assert set(counts) == set(KINDS)
    assert len(counts) >= 14
    assert 1900 <= len(PAIRS) == len(ROWS) <= 2100
    assert min(counts.values()) > 0.9 * len(PAIRS) / len(counts)


def test_nearly_all_prompts_are_distinct() -> None:
    counts = Counter(" ".join(row["prompt"].casefold().split()) for row in ROWS)
    assert len(counts) >= 0.97 * len(ROWS)
    assert 20 <= sum(count > 1 for count in counts.values()) <= 60
    assert max(counts.values()) == 2


def test_lengths_reach_beyond_what_max_length_keeps() -> None:
    sides = [
        tokens(pair.task.prompt) + tokens(answer.text)
        for pair in PAIRS
        for answer in (pair.chosen, pair.rejected)
    ]
    assert min(sides) <= 20
    assert 500 <= max(sides) <= 1000
    assert 110 <= sum(sides) / len(sides) <= 150
    assert 0.08 <= sum(side > 256 for side in sides) / len(sides) <= 0.16


def test_longer_wins_is_no_better_than_a_coin() -> None:
    assert 0.45 <= longer_wins(PAIRS) <= 0.55


@pytest.mark.parametrize("kind", KINDS)
def test_longer_wins_is_no_rule_for_any_kind(kind: str) -> None:
    assert 0.35 <= longer_wins(by_kind()[kind]) <= 0.65


@pytest.mark.parametrize("kind", KINDS)
def test_no_phrase_decides_a_kind(kind: str) -> None:
    """Betting on the side that has a phrase, or on the one that lacks it, wins few pairs net."""
    pairs = by_kind()[kind]
    balance: Counter[str] = Counter()
    for pair in pairs:
        chosen, rejected = phrases(pair.chosen.text), phrases(pair.rejected.text)
        balance.update(chosen - rejected)
        balance.subtract(rejected - chosen)
    worst = max(balance, key=lambda text: abs(balance[text]))
    assert abs(balance[worst]) <= 0.35 * len(pairs), (worst, balance[worst])


def phrases(text: str) -> set[str]:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    return {" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}


@pytest.mark.parametrize("defect", ["wrong", "cut", "off_topic", "off_format", "rude", "vague"])
def test_every_serious_defect_is_common_and_never_wins(defect: str) -> None:
    assert sum(pair.rejected.defect == defect for pair in PAIRS) >= 0.03 * len(PAIRS)
    assert all(pair.chosen.defect != defect for pair in PAIRS)


def test_winners_have_mild_defects_now_and_then() -> None:
    share = sum(pair.chosen.defect != "sound" for pair in PAIRS) / len(PAIRS)
    assert 0.1 <= share <= 0.4


@pytest.mark.parametrize("problem", CODE["problems"], ids=lambda problem: problem["names"][0])
def test_repaired_functions_run_and_broken_ones_fail(problem: dict[str, Any]) -> None:
    def passes(text: str) -> bool:
        scope: dict[str, Any] = {}
        source = text.replace("$f", "function").replace("$x", "argument")
        check = problem["check"].replace("$f", "function")
        try:
            exec(source, scope)  # noqa: S102
            return bool(eval(check, scope))  # noqa: S307
        except (IndexError, TypeError):
            return False

    assert passes(problem["fixed"])
    assert not passes(problem["broken"])


def test_right_sums_add_up_and_wrong_ones_do_not() -> None:
    sums = re.compile(r"(\d+) x (\d+) ([+-]) (\d+) = (\d+)")
    right = wrong = 0
    for pair in by_kind()["arithmetic"]:
        a, b, c = (int(number) for number in re.findall(r"\d+", last_turn(pair))[:3])
        for answer in (pair.chosen, pair.rejected):
            for x, y, sign, z, result in sums.findall(answer.text):
                if answer.defect == "off_topic":
                    continue
                true = int(x) * int(y) + (int(z) if sign == "+" else -int(z))
                assert {int(x), int(y), int(z)} == {a, b, c}
                assert (int(result) == true) == (answer.defect != "wrong")
                right, wrong = (
                    right + (answer.defect != "wrong"),
                    wrong + (answer.defect == "wrong"),
                )
    assert right > 20
    assert wrong > 2


def test_good_json_answers_parse_and_have_the_keys_asked_for() -> None:
    for pair in by_kind()["json"]:
        if pair.chosen.defect == "sound":
            keys = re.search(r"the keys ((?:\w+, )*\w+ and \w+)", last_turn(pair))
            row = json.loads(pair.chosen.text)
            assert keys is not None
            assert list(row) == re.split(r", | and ", keys.group(1))
            assert all(str(value) in last_turn(pair) for value in row.values())


def last_turn(pair: Pair) -> str:
    return pair.task.prompt.split("<extra_id_1>User\n")[-1]


def test_rating_follows_from_the_defect() -> None:
    task = Task("fact", "?", "it", lambda rng, right: Draft(""), difficulty=1)
    # A sound short answer: 4, 4, 4, complexity 1, verbosity 2.
    assert attributes(Answer("Six.", "sound", 0), task) == (4, 4, 4, 1, 2)
    assert rating((4, 4, 4, 1, 2)) == 3.0
    # Wrong costs 2 of helpfulness and 3 of correctness.
    assert attributes(Answer("Five.", "wrong", 0), task) == (2, 1, 4, 1, 2)
    # Two extras raise the complexity, more than 80 words the verbosity.
    assert attributes(Answer("word " * 81, "sound", 2), task) == (4, 4, 4, 2, 3)
    # No attribute falls below 0.
    assert attributes(Answer("No.", "needless_refusal", 0), task) == (0, 2, 4, 0, 1)


def test_templates_choose_fill_and_leave_plain_brackets() -> None:
    seen = {phrase(Random(seed), "(a|b (c|d)|) $x (no bar)", x="(1|2)") for seed in range(60)}
    assert seen == {
        "a (1|2) (no bar)",
        "b c (1|2) (no bar)",
        "b d (1|2) (no bar)",
        " (1|2) (no bar)",
    }
    assert sentence(Random(0), "$x runs", x="eVA") == "EVA runs"
    with pytest.raises(KeyError):
        phrase(Random(0), "$missing")


def test_listing() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b"]) == "a and b"
    assert listing(["a", "b", "c"], "or") == "a, b or c"
