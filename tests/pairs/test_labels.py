"""reward.pairs.labels: what names the better of two answers, and what does not say it."""

import pytest

from reward.harness.errors import InputError
from reward.pairs.labels import Labels, marks, spelling, winner_of_flags
from reward.sources.catalogue import Winner


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1, "1"), (1.0, "1"), ("1.0", "1"), (" 1 ", "1"), (True, "true"), ("Model_A", "model_a")),
        *((1.5, "1.5"), ("1e400", "1e400"), (None, "none")),
    ],
)
def test_one_label_in_several_spellings(value: object, text: str) -> None:
    assert spelling(value) == text


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("response_1", "response_2", ("1", "2")),
        ("conversation_a", "conversation_b", ("a", "b")),
        ("human_ref_A", "human_ref_B", ("a", "b")),
        ("summaries.0", "summaries.1", ("0", "1")),
        ("a_text", "b_text", ("a", "b")),
    ],
)
def test_marks_set_two_names_apart(first: str, second: str, found: tuple[str, str]) -> None:
    assert marks(first, second) == found


@pytest.mark.parametrize(
    ("columns", "label", "winner"),
    [
        (("response_a", "response_b"), "model_a", "response_1"),
        (("response_a", "response_b"), "response_b", "response_2"),
        (("response_a", "response_b"), "B", "response_2"),
        (("response_1", "response_2"), "A", "response_1"),
        (("response_1", "response_2"), "left", "response_1"),
        (("response_1", "response_2"), "Response 2", "response_2"),
        (("response_0", "response_1"), 1, "response_2"),
        (("response_0", "response_1"), 0.0, "response_1"),
        (("response_a", "response_b"), "tie (bothbad)", "tie"),
        (("response_a", "response_b"), "both_bad", "tie"),
        (("response_a", "response_b"), "Tie", "tie"),
        (("response_A", "response_B"), "A>B", "response_1"),
        (("response_A", "response_B"), "[[A<<B]]", "response_2"),
        (("response_A", "response_B"), "B > A", "response_2"),
        (("response_A", "response_B"), "A=B", "tie"),
        (("response_A", "response_B"), "A>C", None),
        (("response_A", "response_B"), "A>A", None),
        (("response_1", "response_2"), "Response 2 is much better than Response 1", "response_2"),
        (("response_1", "response_2"), "Response 2 is worse than Response 1", "response_1"),
        (("response_1", "response_2"), "response 1 is better", "response_1"),
        (("response_a", "response_b"), "both are equally good", "tie"),
        (("response_a", "response_b"), "no preference", "tie"),
        # Words that may turn the meaning of a name, or are not known.
        (("response_1", "response_2"), "Response 2 is worse", None),
        (("response_1", "response_2"), "Response 1 is not better than Response 2", None),
        (("response_a", "response_b"), "not a", None),
        (("response_a", "response_b"), "b loses", None),
        (("Response 0", "response-1"), 1, "response_2"),
        (("response_1", "response_2"), 0, None),
        (("response_1", "response_2"), 1.5, None),
        (("response_a", "response_b"), "", None),
        (("response_a", "response_b"), "a or b", None),
        (("response_a", "response_b"), "a is better than b", "response_1"),
        (("response_a", "response_b"), ["a"], None),
        # As the card of SHP says, and not as the order of the columns would have it.
        (("human_ref_A", "human_ref_B"), 1, "response_1"),
        (("human_ref_A", "human_ref_B"), 0, "response_2"),
    ],
)
def test_what_a_label_names(columns: tuple[str, str], label: object, winner: str | None) -> None:
    assert Labels(*columns, "labels", None).winner(label) == winner


def test_an_answer_may_be_named_by_its_model() -> None:
    labels = Labels("response_a", "response_b", "winner", None)
    models = ("gpt-b", "b", None)
    assert labels.winner_of("gpt-b", ("gpt-b", "x")) == "response_1"  # and not by its last word
    assert labels.winner_of("b", ("b", "x")) == "response_2"  # the mark is the mark
    assert labels.winner_of("gpt-b", ("gpt-b", "gpt-b")) is None  # both
    assert [labels.winner_of(None, (model, model)) for model in models] == [None] * 3


def test_a_name_that_is_the_start_of_the_other_is_no_mark() -> None:
    labels = Labels("answer", "answer_new", "better", None)
    assert [labels.winner(label) for label in ("", "answer", "answer_new", "new")] == [
        *(None, "response_1", "response_2", "response_2"),
    ]


def test_labels_that_are_given_stand_alone() -> None:
    labels = Labels("a", "b", "label", {"2.0": "response_1", "True": "response_2"})
    assert [labels.winner(label) for label in (2, True, 1, "a")] == [
        *("response_1", "response_2", None, None),
    ]


@pytest.mark.parametrize("values", [[0, 1], [1], [0], ["x"], [None], [], [0, 1, "tie"], [0, 1, 2]])
def test_numbers_that_fit_no_column_are_not_guessed(values: list[object]) -> None:
    with pytest.raises(InputError, match="do not say whether x_a or x_b is better"):
        Labels("x_a", "x_b", "label", None).check("x.jsonl", values)


@pytest.mark.parametrize("values", [[-2, -1, 1, 2], [1, 2, 3, 4, 5], [0, 1, 2]])
def test_grades_of_a_scale_are_no_labels(values: list[object]) -> None:
    labels = Labels("response_1", "response_2", "preference", None)
    with pytest.raises(InputError, match=r"labels \((-1, -2|3, 4, 5|1.5|0)\) that do not say"):
        labels.check("x.jsonl", values)
    given: dict[str, Winner] = {"1": "response_1", "2": "response_2"}
    Labels("response_1", "response_2", "preference", given).check("x.jsonl", values)


def test_first_and_second_by_number() -> None:
    labels = Labels("x_a", "x_b", "label", None)
    assert labels.winner(1) is None
    labels.check("x.jsonl", [1, 2, "tie", 2])
    assert [labels.winner(label) for label in (1, 2)] == ["response_1", "response_2"]


def test_numbers_beside_columns_of_other_numbers_are_not_guessed() -> None:
    with pytest.raises(InputError, match=r"holds labels \(2\) that do not say"):
        Labels("response_0", "response_1", "label", None).check("x.jsonl", [1, 2, 2])


def test_a_stray_label_is_a_fault_of_its_row() -> None:
    labels = Labels("x_a", "x_b", "label", None)
    labels.check("x.jsonl", ["a", "b", "?", None])
    assert labels.winner("?") is None


def test_between_1_and_2_a_grade_names_the_nearer_answer() -> None:
    labels = Labels("output_1", "output_2", "preference", None)
    labels.check("x.jsonl", [1.0, 1.0002, 1.9, None])
    assert [labels.winner(grade) for grade in (1, 1.49, "1.5", 1.6, 2.0, 0, 2.5)] == [
        *("response_1", "response_1", "tie", "response_2", "response_2", None, None),
    ]
    assert "below 1.5 means output_1, above it output_2" in labels.describe([1.2])


@pytest.mark.parametrize("values", [[0.2, 1], [0, 1.5, 2], [1.5, 2.5]])
def test_grades_beyond_1_and_2_are_not_guessed(values: list[object]) -> None:
    with pytest.raises(InputError, match="do not say whether output_1 or output_2"):
        Labels("output_1", "output_2", "preference", None).check("x.jsonl", values)
    with pytest.raises(InputError, match="do not say whether x_0 or x_1"):  # 0.3 may mean either
        Labels("x_0", "x_1", "preference", None).check("x.jsonl", [0, 0.3, 1])


def test_numbers_with_a_sign_are_asked_about() -> None:
    with pytest.raises(InputError, match=r"`better: lower` where a negative number speaks for x_1"):
        Labels("x_1", "x_2", "preference", None).check("x.jsonl", [-3, 1, 2])


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        (["a", "a", "b"], "response_1"),
        (["b", "tie", "b"], "response_2"),
        (["a", "b", "tie"], "tie"),
        (["a", "b"], "tie"),
        (["tie", "tie", "a"], "tie"),
        (["a", None, "a", ""], "response_1"),
        (["a", "a", "?"], None),
        ([], None),
    ],
)
def test_of_several_judges_most_decide(votes: list[str | None], winner: str | None) -> None:
    labels = Labels("response_a", "response_b", "votes", None)
    assert labels.winner_of(votes, ()) == winner


@pytest.mark.parametrize(
    ("flags", "winner"),
    [
        *(((1, 0), "response_1"), ((0, 1.0), "response_2"), (("0", "1"), "response_2")),
        *(((True, False), "response_1"), ((0, 0), "tie"), ((1, 1), "tie")),
        *(((None, 1), None), ((2, 0), None), (("x", 1), None)),
    ],
)
def test_flags(flags: tuple[object, object], winner: str | None) -> None:
    assert winner_of_flags(*flags) == winner
