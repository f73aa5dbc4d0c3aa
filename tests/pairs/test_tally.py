"""reward.pairs.tally: counts by reason, and the rows of the first few."""

from reward.pairs.tally import Tally


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
