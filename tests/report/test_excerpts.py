from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from markupsafe import escape

from reward.evaluation.scores import Scored
from reward.report import excerpts
from reward.report.excerpts import choose, excerpt, last_turns, visible

AWKWARD = st.text(st.sampled_from("ab é中\U0001f600<>&\"'\n\t\r\x00\u202e\u200d"), max_size=300)


def bytes_as_html(text: str) -> int:
    return len(str(escape(text)).encode())


def test_choose_by_hand(monkeypatch):
    for name, size in (("MISTAKES", 2), ("CLOSE", 2), ("SAMPLE", 2)):
        monkeypatch.setattr(excerpts, name, size)
    #                         0    1     2    3    4     5    6     7
    chosen = choose(np.array([3.0, -1.0, 0.0, 9.0, -7.0, 5.0, -0.5, 0.4]))
    assert chosen["mistake"].tolist() == [4, 1]
    assert chosen["close"].tolist() == [2, 7]  # a tie is no mistake; of -0.5 and 0.4 the smaller
    assert chosen["sample"].tolist() == [6, 3]  # the ends of what is left: -0.5, 3, 5, 9


@given(arrays.arrays(float, st.integers(1, 300), elements=st.integers(-4, 4)))
def test_choose_takes_each_row_once(margin):
    chosen = choose(margin)
    rows = np.concatenate(list(chosen.values()))
    assert len(set(rows.tolist())) == len(rows) == min(len(margin), len(rows))
    assert (margin[chosen["mistake"]] < 0).all()
    if len(margin) <= 40:
        assert sorted(rows.tolist()) == list(range(len(margin)))
    left = np.setdiff1d(np.arange(len(margin)), np.concatenate([chosen["mistake"]]))
    if len(chosen["close"]):
        others = np.setdiff1d(left, chosen["close"])
        assert np.abs(margin[chosen["close"]]).max() <= np.abs(margin[others]).min(initial=np.inf)


def test_visible_spells_out_what_cannot_be_seen() -> None:
    assert visible("a\u202eb\x00\rc\u2028\ufeff") == ("a⟨U+202E⟩b⟨U+0000⟩⟨U+000D⟩c⟨U+2028⟩⟨U+FEFF⟩")
    kept = "tab\tline\n नि\u200d👩\u200d👩\u200d👧 中文 \N{NO-BREAK SPACE}é"
    assert visible(kept) == kept


@given(AWKWARD, st.integers(0, 400))
def test_an_excerpt_is_the_longest_beginning_that_fits(text: str, limit: int) -> None:
    piece = excerpt(text, limit)
    text = text.replace("\r\n", "\n")
    kept = len(text) - piece.lost
    assert piece.head + piece.rest == visible(text[:kept])
    assert bytes_as_html(piece.head + piece.rest) <= limit
    if piece.lost:
        assert bytes_as_html(visible(text[: kept + 1])) > limit


def test_letters_that_are_drawn_as_nothing_are_spelled_out() -> None:
    assert visible("a\u3164b\U000e0101c\ufe01") == "a⟨U+3164⟩b⟨U+E0101⟩c⟨U+FE01⟩"
    assert visible("❤\ufe0f e\u0301") == "❤\ufe0f e\u0301"  # an emoji and an accent


def test_a_long_text_is_folded() -> None:
    piece = excerpt("x" * 1000, 900)
    assert (len(piece.head), len(piece.rest), piece.lost) == (700, 200, 100)


@given(st.lists(st.tuples(AWKWARD, AWKWARD), min_size=1, max_size=60))
def test_a_conversation_keeps_its_end_and_stays_small(prompt: list[tuple[str, str]]) -> None:
    turns, earlier = last_turns(prompt)
    assert len(turns) + earlier == len(prompt)
    assert turns[-1].text.lost == 0  # a last turn of this length always fits
    assert turns[-1].text.head + turns[-1].text.rest == visible(prompt[-1][1].replace("\r\n", "\n"))
    sizes = [excerpts.TURN_BYTES + bytes_as_html(turn.text.head) for turn in turns]
    assert sum(sizes) <= excerpts.TEXT_BYTES + excerpts.TURN_BYTES
    assert all(len(turn.role) <= excerpts.ROLE_LENGTH for turn in turns)


def test_excerpts_find_their_texts_by_id(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "two\n lines"}]
    rows = [
        {
            "pair_id": name,
            "prompt": prompt,
            "chosen": f"good {name}",
            "rejected": f"bad {name}",
            "chosen_rating": 3.5 if name == "a" else None,
            "rejected_rating": 3.0 if name == "a" else None,
        }
        for name in ("c", "a", "b")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "validation.parquet")
    scored = Scored(
        np.array([1.0, 0.5]),
        np.array([2.0, 0.25]),
        np.array([7, 5]),
        np.array([4, 6]),
        np.array([np.nan, 0.5]),
        np.zeros(2),
    )
    wrong, right = excerpts.excerpts(scored, np.array(["b", "a"]), tmp_path / "validation.parquet")
    assert (wrong["kind"], wrong["pair_id"], wrong["chosen"].head) == ("mistake", "b", "good b")
    assert (wrong["margin"], wrong["rating_gap"], wrong["chosen_rating"]) == (-1.0, None, None)
    assert (wrong["chosen_tokens"], wrong["rejected_tokens"]) == (7, 4)
    assert (right["kind"], right["pair_id"], right["rejected"].head) == ("close", "a", "bad a")
    assert (right["margin"], right["rating_gap"], right["preview"]) == (0.25, 0.5, "two lines")
