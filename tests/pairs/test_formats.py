"""reward.pairs.formats: the shapes in which public sets come, and columns that fit none.

The files in tests/support/fixtures were written for this project after the public descriptions of
the sets that they are named for, every column included.
"""

from pathlib import Path
from typing import Any

import pytest

from reward.harness.errors import InputError
from reward.pairs.formats import Reader
from reward.pairs.preference import Message, Preference
from reward.pairs.rows import Row, Tolerance, read_rows
from reward.sources.catalogue import Dataset
from tests.support.candidates import FIXTURES, pairs, read, reasons, user

BREAD = (Message("user", "Why does bread rise when it is baked?"),)
PRIMES = (Message("user", "Name two prime numbers above ten."),)
HELLO = (Message("user", "Hello"), Message("assistant", "Hello, how can I help?"))
SYSTEM = (Message("system", "Answer with numbers alone."),)
YEAST = "Yeast makes carbon dioxide, and the heat lets the bubbles grow before the crumb sets."


@pytest.mark.parametrize(
    ("name", "kind", "before_second", "ratings"),
    [
        ("original_helpsteer2_binarized", "pairs", HELLO, ((3.4, 1.6), (3.2, 1.2))),
        ("ultrafeedback_binarized", "pairs", (), ((8.5, 4.0), (9.0, 2.0))),
        ("reward_bench", "pairs", (), ((None, None), (None, None))),
        ("skywork_reward_preference", "pairs", SYSTEM, ((None, None), (None, None))),
        ("hh_rlhf", "transcripts", HELLO, ((None, None), (None, None))),
        # (4 + 4 + 4 + 2 + 2) / 5 = 3.2 and (1 + 2 + 4 + 0 + 0) / 5 = 1.4; 14 / 5 and 6 / 5
        ("helpsteer2", "ratings", (), ((3.2, 1.4), (2.8, 1.2))),
        ("ultrafeedback", "scored-lists", (), ((8.5, 3.0), (9.0, 2.0))),
        ("helpsteer3", "strength", HELLO, ((3.0, 0.0), (2.0, 0.0))),
    ],
)
@pytest.mark.parametrize("is_named", [False, True])
def test_public_sets(
    tmp_path: Path,
    name: str,
    kind: str,
    before_second: tuple[Message, ...],
    ratings: tuple[tuple[float | None, float | None], ...],
    is_named: bool,
) -> None:
    path = FIXTURES / f"{name}.jsonl"
    entry = Dataset.model_validate({"source": str(path), "format": kind if is_named else None})
    reader = Reader(entry, read_rows({path.name: path}, Tolerance(0)))
    candidates = list(reader.candidates(tmp_path, path.stat().st_size))
    assert reader.format == kind
    assert pairs(candidates) == [
        Preference(BREAD, YEAST, "Because it is hot.", *ratings[0]),
        Preference((*before_second, *PRIMES), "11 and 13.", "12 and 15.", *ratings[1]),
    ]
    # HelpSteer's third prompt has two responses that are rated alike.
    assert reasons(candidates) == ({"tie": 1} if name in ("helpsteer2", "helpsteer3") else {})


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    names = {"prompt": "question", "chosen": "good", "rejected": "bad", "chosen_rating": "stars"}
    row: Row = {"question": "Why?", "good": "So.", "bad": "No.", "stars": 5, "prompt": "Not this."}
    [found] = read(tmp_path, [row], columns=names)
    assert found.outcome == Preference((Message("user", "Why?"),), "So.", "No.", 5.0, None)


@pytest.mark.parametrize(
    ("rows", "entry", "sentence"),
    [
        (
            [{"question": "Why?", "chosen": [user("Why?")]}],
            {},
            r"no column rejected \(there are: question, chosen\)",
        ),
        (
            ["broken_text", {"chosen": "So.", "rejected": "No."}],
            {},
            r"no column prompt \(there are: chosen, rejected\)",
        ),
        (
            [{"prompt": "Why?", "response": "So.", "helpfulness": 4}],
            {},
            r"of no known format \(its columns: prompt, response, helpfulness\): name its `format`",
        ),
        (
            [{"prompt": "Why?", "response": "So.", "helpfulness": 4}],
            {"format": "ratings"},
            "no column correctness and no column coherence",
        ),
        (
            [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}],
            {"columns": {"prompt": "question"}},
            r"no column question \(there are: prompt, chosen, rejected\)",
        ),
        (
            [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}],
            {"columns": {"question": "prompt"}},
            r"format pairs of x\.jsonl has no column question \(there are: prompt, system, ",
        ),
        (
            [{"prompt": "Why?", "chosen": 1, "rejected": 2}],
            {},
            "The column chosen of x.jsonl holds int and not text or messages: map another one",
        ),
        (
            [{"prompt": "Why?", "response1": "A", "response2": "B", "overall_preference": "A"}],
            {},
            "The column overall_preference of x.jsonl holds str and not numbers",
        ),
        ([], {}, r"x\.jsonl begins with no readable row"),
    ],
)
def test_columns_that_do_not_fit_end_in_one_sentence(
    tmp_path: Path, rows: list[Row | str], entry: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, rows, **entry)
    assert "\n" not in str(caught.value)


def test_ratings_that_are_words_are_not_read(tmp_path: Path) -> None:
    row: Row = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "chosen_rating": "good"}
    [found] = read(tmp_path, [row])
    assert found.outcome == Preference((Message("user", "Why?"),), "So.", "No.", None, None)
    assert Reader(Dataset(source="x"), [[(1, row)]]).unread == ["chosen_rating"]


def test_a_column_that_some_rows_lack_is_no_missing_column(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        {"prompt": "Why?"},
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    ]
    assert len(pairs(read(tmp_path, rows))) == 1
