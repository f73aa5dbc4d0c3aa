"""Conversations in one text, as `Human: ...` and `Assistant: ...` one after the other, or as a chat
template writes them.

hh-rlhf (Bai et al. 2022, arXiv 2204.05862) begins each turn after an empty line. Other sets have
one line end, or other names of the two speakers. An answer may well be such a dialogue itself, so
these are read only where a conversation must be: where there is no prompt beside it, or as a prompt
that ends by asking for the answer.
"""

import re

SPOKEN_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
SPEAKERS = (
    ("Human", "Assistant"),
    ("User", "Assistant"),
    ("USER", "ASSISTANT"),
    ("### Human", "### Assistant"),
    ("### User", "### Assistant"),
    ("### Instruction", "### Response"),
    ("Question", "Answer"),
    ("Q", "A"),
)
"""Who asks and who answers. Another pair of them within a turn is text."""
TEMPLATES = (
    (re.compile(r"<\|im_start\|>(system|user|assistant)\n"), ("<|im_end|>",)),
    (
        re.compile(r"<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\n\n"),
        ("<|eot_id|>", "<|end_of_text|>"),
    ),
    (re.compile(r"<\|(system|user|assistant)\|>\n"), ("<|endoftext|>", "<|end|>", "</s>")),
)
"""How chat templates begin a turn, and how they may end it: ChatML, Llama 3, Zephyr and Phi 3."""
ASKING = SPEAKERS[:5]
"""Those that a prompt may have: a task may be written as Q: and A: itself."""


def conversation_messages(text: str) -> list[dict[str, str]] | None:
    """The messages of a text that is nothing but a conversation; None where it is not."""
    return template_messages(text) or dialogue_messages(text)


def is_transcript(text: str) -> bool:
    """Whether a text begins as a transcript of hh-rlhf does."""
    return text.startswith(("\n\nHuman:", "Human:"))


def transcript_messages(text: str) -> list[dict[str, str]] | None:
    """The messages of a text `\\n\\nHuman: ...\\n\\nAssistant: ...`, stripped; None where
    something stands before the first speaker.
    """
    first, *spoken = SPOKEN_TURN.split(text)
    if first.strip() or not spoken:
        return None
    return [
        {"role": ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(spoken[::2], spoken[1::2], strict=True)
    ]


def dialogue_messages(
    text: str, speakers: tuple[tuple[str, str], ...] = SPEAKERS
) -> list[dict[str, str]] | None:
    """The messages of a text in which two speakers take turns, stripped; None where it is none.

    A turn begins after an empty line if any answer does, else after a line end.
    """
    text = text.strip()
    for one, other in speakers:
        if not text.startswith(f"{one}:"):
            continue
        between = "\n\n" if f"\n\n{other}:" in text else "\n"
        turn = rf"(?:^|{between})[ \t]*({re.escape(one)}|{re.escape(other)}):"
        _, *spoken = re.split(turn, text)
        names, contents = spoken[::2], spoken[1::2]
        if len(names) > 1 and all(
            name == (one, other)[place % 2] for place, name in enumerate(names)
        ):
            return [
                {"role": "user" if name == one else "assistant", "content": content.strip()}
                for name, content in zip(names, contents, strict=True)
            ]
    return None


def template_messages(text: str) -> list[dict[str, str]] | None:
    """The messages of a text that a chat template wrote, stripped; None where it is none."""
    text = text.strip().removeprefix("<|begin_of_text|>").removeprefix("<s>")
    for turn, ends in TEMPLATES:
        first, *spoken = turn.split(text)
        if first or len(spoken) < 4:
            continue
        messages = []
        for role, content in zip(spoken[::2], spoken[1::2], strict=True):
            for end in ends:
                content = content.strip().removesuffix(end)
            if content.strip() or role != "system":  # an empty system turn says nothing
                messages.append({"role": role, "content": content.strip()})
        return messages
    return None


def asking_messages(text: str) -> list[dict[str, str]] | None:
    """The messages of a prompt that ends in `Assistant:`, which asks for the answer; else None."""
    text = text.strip()
    for speakers in ASKING:
        one, other = (f"{speaker}:" for speaker in speakers)
        if not (text.startswith(one) and text.endswith(other)):
            continue
        if text.count(one) == text.count(other) == 1:  # they may stand on one line
            content = text.removeprefix(one).removesuffix(other).strip()
            return [{"role": "user", "content": content}]
        messages = dialogue_messages(text, (speakers,))
        if messages and messages[-1] == {"role": "assistant", "content": ""}:
            return messages[:-1]
    return None
