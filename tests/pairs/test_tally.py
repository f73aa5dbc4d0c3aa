"""reward.pairs.tally: counts by reason and column, and what was there in the first few rows."""

from reward.pairs.cures import CURES
from reward.pairs.tally import MOST_SHOWN, Tally, shown


def test_a_tally_reports_counts_and_the_first_rows() -> None:
    tally = Tally(rows=2000)
    for row in range(1, 1501):
        tally.keep()
        if row > 1493:
            tally.drop_kept("duplicate", row)
    tally.drop("tie", 1600)
    tally.find("control_characters", 3)
    assert str(tally) == (
        "2,000 rows read, 1,493 pairs kept; dropped: "
        "7 duplicate (rows 1494, 1495, 1496, 1497, 1498, ...), 1 tie (row 1600); "
        "kept with: 1 control characters (row 3)"
    )
    assert Tally.total([tally, tally]).counts() == {
        "rows": 4000,
        "candidates": 3002,
        "pairs": 2986,
        "dropped": {"duplicate": 14, "tie": 2},
        "kept_with": {"control_characters": 2},
    }


def test_a_reason_names_row_column_and_what_was_there_with_its_cure() -> None:
    tally = Tally(rows=6)
    tally.drop("wrong_type", 2, "answers", {"text": "So."})
    tally.drop("wrong_type", 1, "\x1b[2Jscore", 5)
    tally.drop("wrong_type", 3, "answers", True)
    tally.drop("wrong_type", 4, "answers", 7)
    tally.drop("missing_chosen", 5, "chosen")
    tally.drop("empty_response", 6, "chosen")
    tally.find("empty_response", 7)
    assert str(tally) == (
        "6 rows read, 0 pairs kept; dropped: 4 wrong type in \\x1b[2Jscore and answers (rows 1, 2, "
        "3, 4), 1 missing chosen (row 5), 1 empty response in chosen (row 6); "
        "kept with: 1 empty response (row 7)"
    )
    assert tally.columns["wrong_type"] == {"answers": 3, "\x1b[2Jscore": 1}
    assert [*tally.cures()] == [
        "wrong type: row 2 has {'text': 'So.'} in answers, row 1 has 5 in \\x1b[2Jscore, row 3 has "
        f"True in answers; {CURES['wrong_type']}",
        f"missing chosen: {CURES['missing_chosen']}",
        f"empty response: {CURES['empty_response']}",
    ]


def test_what_was_there_is_shown_in_short() -> None:
    assert shown("So.") == "'So.'"
    assert shown("\x1b[2J\u202e") == r"'\x1b[2J\u202e'"
    deep: object = 7
    for _ in range(100_000):
        deep = [deep]
    for value in ("x" * 10**6, [["y" * 10**6] * 9] * 9, {str(n): "z" for n in range(9)}, deep):
        assert len(shown(value)) <= MOST_SHOWN
    while isinstance(deep, list):  # Python would take it apart one within the other
        deep = deep.pop()
