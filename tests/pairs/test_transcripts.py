"""reward.pairs.transcripts: conversations in one text, and texts that only look like one."""

from pathlib import Path

import pytest

from reward.pairs.formats import Reader
from reward.pairs.preference import Message, Preference
from reward.pairs.rows import Row
from reward.pairs.transcripts import asking_messages, dialogue_messages
from reward.sources.catalogue import Dataset
from tests.support.candidates import assistant, pairs, read, reasons, user

ASK, GOOD, BAD = "How many legs has a spider?", "It has eight.", "Six, like a fly."
ONE = (Message("user", ASK),)


@pytest.mark.parametrize(
    ("asks", "answers", "before"),
    [
        ("Human:", "Assistant:", "\n"),
        ("Human:", "Assistant:", "\n\n"),
        ("\n\nHuman:", "Assistant:", "\n"),
        ("User:", "Assistant:", "\n"),
        ("USER:", "ASSISTANT:", "\n\n"),
        ("### Human:", "### Assistant:", "\n"),
        ("### Instruction:\n", "### Response:\n", "\n\n"),
        ("Question:", "Answer:", "\n\n"),
        ("Q:", "A:", "\n"),
    ],
)
def test_two_speakers_that_take_turns_are_a_conversation(
    tmp_path: Path, asks: str, answers: str, before: str
) -> None:
    row: Row = {
        side: f"{asks} {ASK}{before}{answers} {text}\n"
        for side, text in (("chosen", GOOD), ("rejected", BAD))
    }
    assert Reader(Dataset(source="x"), [[(1, row)]]).format == "transcripts"
    assert pairs(read(tmp_path, [row])) == [Preference(ONE, GOOD, BAD, None, None)]


TEMPLATES = {
    "ChatML": (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
        "<|im_start|>assistant\n{}<|im_end|>\n"
    ),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>"
    ),
    "Zephyr": "<|system|>\n</s>\n<|user|>\n{}</s>\n<|assistant|>\n{}</s>\n",
    "Phi 3": "<s><|user|>\n{}<|end|>\n<|assistant|>\n{}<|end|>\n<|endoftext|>",
    "without an end": "<|im_start|>user\n{}\n<|im_start|>assistant\n{}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_what_a_chat_template_wrote_becomes_turns_again(tmp_path: Path, template: str) -> None:
    row: Row = {"chosen": template.format(ASK, GOOD), "rejected": template.format(ASK, BAD)}
    assert Reader(Dataset(source="x"), [[(1, row)]]).format == "transcripts"
    assert pairs(read(tmp_path, [row])) == [Preference(ONE, GOOD, BAD, None, None)]
    beside: Row = {"prompt": ASK, "chosen": row["chosen"], "rejected": BAD}  # it may be the answer
    assert [pair.chosen for pair in pairs(read(tmp_path, [beside]))] == [row["chosen"]]


def test_several_turns_and_lines_within_them(tmp_path: Path) -> None:
    start = f"Human: Hi\nAssistant: Hello.\nHow can I help?\n\nHuman: {ASK}\nAssistant: "
    prompt = (user("Hi"), assistant("Hello.\nHow can I help?"), user(ASK))
    [pair] = pairs(read(tmp_path, [{"chosen": start + GOOD, "rejected": start + BAD}]))
    assert [turn._asdict() for turn in pair.prompt] == [*prompt]
    assert (pair.chosen, pair.rejected) == (GOOD, BAD)


@pytest.mark.parametrize(
    "text",
    [
        ASK,
        f"Q: {ASK}",
        f"Human: {ASK} Assistant: {GOOD}",
        f"Note\nHuman: {ASK}\nAssistant: {GOOD}",
        "Human: a\nHuman: b\nAssistant: c",
        "Q: a\nA: b\nA: c",
        "A: b\nQ: a",
    ],
)
def test_other_texts_are_no_dialogue(text: str) -> None:
    assert dialogue_messages(text) is None


def test_marks_within_a_turn_are_text() -> None:
    text = f"Human: {ASK}\n\nAssistant: As in\nHuman: x\nAssistant: y"
    assert dialogue_messages(text) == [user(ASK), assistant("As in\nHuman: x\nAssistant: y")]
    other = f"User: {ASK}\nAssistant: As in\nQ: x\nA: y"
    assert dialogue_messages(other) == [user(ASK), assistant("As in\nQ: x\nA: y")]


@pytest.mark.parametrize(
    "answer", ["Q: Legs?\nA: Eight.", "User: Legs?\nAssistant: Eight.", "Human: a\nAssistant: b"]
)
def test_an_answer_to_a_prompt_may_be_a_dialogue(tmp_path: Path, answer: str) -> None:
    row: Row = {"prompt": ASK, "chosen": answer, "rejected": BAD}
    assert pairs(read(tmp_path, [row])) == [Preference(ONE, answer, BAD, None, None)]


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        (f"Human: {ASK}\nAssistant:", [user(ASK)]),
        (f" Human: {ASK} Assistant: ", [user(ASK)]),
        (
            f"User: Hi\nAssistant: Ho\nUser: {ASK}\nAssistant:",
            [user("Hi"), assistant("Ho"), user(ASK)],
        ),
        (f"Q: {ASK}\nA:", None),
        (f"Human: {ASK}", None),
        ("Human: a Assistant: b Human: c Assistant:", None),
    ],
)
def test_a_prompt_that_ends_by_asking_for_the_answer(
    tmp_path: Path, prompt: str, turns: list[dict[str, str]] | None
) -> None:
    assert asking_messages(prompt) == turns
    [pair] = pairs(read(tmp_path, [{"prompt": prompt, "chosen": GOOD, "rejected": BAD}]))
    assert [turn._asdict() for turn in pair.prompt] == (turns or [user(prompt)])


def test_sides_of_other_questions_and_texts_without_turns_give_no_pair(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        {"chosen": f"Q: {ASK}\nA: {GOOD}", "rejected": f"Q: {ASK}\nA: {BAD}"},
        {"chosen": f"Q: {ASK}\nA: {GOOD}", "rejected": f"Q: And a fly?\nA: {BAD}"},
        {"chosen": GOOD, "rejected": f"Q: {ASK}\nA: {BAD}"},
    ]
    found = read(tmp_path, rows)
    assert len(pairs(found)) == 1
    assert reasons(found) == {"prompts_differ": 1, "not_a_transcript": 1}
