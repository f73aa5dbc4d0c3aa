import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from markupsafe import escape

from reward.evaluation.scores import Scored
from reward.report import excerpts
from reward.report.excerpts import answers, choose, excerpt, last_turns, visible

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


def whole(answer: excerpts.Answer) -> str:
    return "".join(piece.text for piece in answer.head + answer.rest)


def own(answer: excerpts.Answer) -> list[str]:
    return [piece.text for piece in answer.head + answer.rest if piece.own]


def test_words_that_one_answer_alone_has_are_marked() -> None:
    chosen, rejected = answers("It is the capital of\nFrance.", "It was the capital of all Gaul.")
    assert own(chosen) == ["is", "France."]
    assert own(rejected) == ["was", "all Gaul."]
    assert own(answers("the same  words", "the same\twords")[0]) == []
    # One word of six is in both: marks on all the others would say nothing.
    assert [own(side) for side in answers("a b c d e f", "u v w x y a")] == [[], []]
    assert [own(side) for side in answers("", "")] == [[], []]


def test_a_mark_across_the_fold_is_on_both_sides_of_it() -> None:
    same = "x" * 690 + " "
    chosen, _ = answers(f"{same}y {'z' * 40}", f"{same}x")
    assert [piece.text for piece in chosen.head if piece.own] == ["y zzzzzzz"]
    assert [piece.text for piece in chosen.rest if piece.own] == ["z" * 33]
    assert chosen.folded == 33


words = st.lists(st.sampled_from(["a", "b", "<b>", "\u202e", "é" * 400]), max_size=200)


@given(words, words)
def test_pieces_are_the_excerpts_and_what_is_left_without_marks_is_in_both(
    one: list[str], other: list[str]
) -> None:
    texts = (" ".join(one), " ".join(other))
    cut = [excerpt(text, excerpts.TEXT_BYTES) for text in texts]
    both = answers(*texts)
    for answer, piece in zip(both, cut, strict=True):
        assert whole(answer) == piece.head + piece.rest
        assert "".join(part.text for part in answer.head) == piece.head
        assert (answer.folded, answer.lost) == (len(piece.rest), piece.lost)
        assert len(own(answer)) <= 2 * excerpts.MOST_MARKS
    shared = [
        " ".join(part.text for part in answer.head + answer.rest if not part.own).split()
        for answer in both
    ]
    if any(map(own, both)) and all(len(piece.rest) == 0 for piece in cut):
        assert shared[0] == shared[1]


@pytest.mark.parametrize("unit", ["a ", "a b ", "ab c d e "])
def test_long_texts_of_few_words_are_compared_in_a_moment(unit: str) -> None:
    began = time.process_time()
    answers(unit * 5000, f"x {unit[::-1]}" * 5000)
    assert time.process_time() - began < 2


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
        np.arange(2),
    )
    wrong, right = excerpts.excerpts(scored, np.array(["b", "a"]), tmp_path / "validation.parquet")
    assert (wrong["kind"], wrong["pair_id"], whole(wrong["chosen"])) == ("mistake", "b", "good b")
    assert (wrong["margin"], wrong["rating_gap"], wrong["chosen_rating"]) == (-1.0, None, None)
    assert (wrong["chosen_tokens"], wrong["rejected_tokens"]) == (7, 4)
    assert (right["kind"], right["pair_id"], whole(right["rejected"])) == ("close", "a", "bad a")
    assert (right["margin"], right["rating_gap"], right["preview"]) == (0.25, 0.5, "two lines")
