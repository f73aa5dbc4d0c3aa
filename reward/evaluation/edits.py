"""Edits that leave what an answer says as it is, and filler that adds nothing to it.

Each is a function of a text that gives the edited text, or the text itself where there is nothing
to edit. Words keep their order, and code, in blocks as within lines, stays as it is. Twice the same
edit is once the same edit; filler alone is put in again.
"""

import re
from collections.abc import Callable
from itertools import cycle, islice

from reward.evaluation.markdown import outside_code, plain_paragraphs

# Where a sentence ends, by its mark and the capital letter after it; code in a line is no place for
# one. (The spaces are what the edits replace.)
_CODE = r"(?<!`)`+[^`\n]*`+"
_SENTENCE_END = re.compile(
    rf"""{_CODE}|(?P<mark>[.!?]["'”’)\]*]*)[ \t]+(?=["'“‘(\[*]*[^\W\d_a-z])"""
)
_BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)++(?P<code> {4}|\t)?")
# By asterisks alone: underscores are parts of names as well.
_EMPHASIS = re.compile(
    rf"{_CODE}|(?<![A-Za-z0-9*\\])(?P<marks>\*{{1,3}})(?=[^\s*])(?P<words>[^*\n]*[^\s*\\])"
    r"(?P=marks)(?![A-Za-z0-9*])"
)
MOST_NESTED = 3  # emphasis within emphasis

BEFORE = (
    "Thank you for your question.",
    "I am happy to help you with it.",
    "It is good that you ask.",
    "Let me give you an answer.",
)
AFTER = (
    "I hope that this helps.",
    "Please let me know if anything is unclear.",
    "I am happy to explain more.",
    "Feel free to ask me again at any time.",
)


def newline_at_end(text: str) -> str:
    """The text with one line end after it, if it has none."""
    return text if text.endswith("\n") else text + "\n"


def more_blank_lines(text: str) -> str:
    """Two blank lines where there is one or more."""
    # None before indented code. (A regular expression that refused it would begin again at every
    # line of a long gap.)
    return outside_code(
        text,
        lambda prose: _BLANK_LINES.sub(lambda gap: gap[0] if gap["code"] else "\n\n\n", prose),
    )


def double_spaces(text: str) -> str:
    """Two spaces after each sentence."""
    return plain_paragraphs(text, lambda paragraph: _after_sentences(paragraph, "  "))


def sentences_on_lines(text: str) -> str:
    """Each sentence on a line of its own, which Markdown shows as the paragraph that it was."""
    return plain_paragraphs(text, lambda paragraph: _after_sentences(paragraph, "\n"))


def paragraphs_as_list(text: str) -> str:
    """Each plain paragraph as an item of a list, where there are at least two."""
    paragraphs: list[str] = []

    def item(paragraph: str) -> str:
        paragraphs.append(paragraph)
        return f"- {paragraph}"

    listed = plain_paragraphs(text, item)
    return listed if len(paragraphs) >= 2 else text


def first_sentence_bold(text: str) -> str:
    """The first sentence of the first plain paragraph in bold, if the paragraph has no asterisk."""
    paragraphs: list[str] = []

    def bold(paragraph: str) -> str:
        paragraphs.append(paragraph)
        if len(paragraphs) > 1 or "*" in paragraph:
            return paragraph
        ends = (found.end("mark") for found in _SENTENCE_END.finditer(paragraph) if found["mark"])
        end = min(next(ends, len(paragraph)), f"{paragraph}\n".index("\n"))
        sentence = paragraph[:end].rstrip()
        return f"**{sentence}**{paragraph[len(sentence) :]}"

    return plain_paragraphs(text, bold)


def no_emphasis(text: str) -> str:
    """The text without the asterisks that make words bold or italic."""

    def plain(prose: str) -> str:
        return _EMPHASIS.sub(lambda found: found["words"] or found[0], prose)

    for _ in range(MOST_NESTED):
        text = outside_code(text, plain)
    return text


def filler_before(text: str, sentences: int) -> str:
    """A paragraph of so many sentences that say nothing, then the text."""
    return f"{_filler(BEFORE, sentences)}\n\n{text}"


def filler_after(text: str, sentences: int) -> str:
    """The text, then a paragraph of so many sentences that say nothing."""
    return f"{text.rstrip()}\n\n{_filler(AFTER, sentences)}"


def all_edits(sentences: int) -> dict[str, Callable[[str], str]]:
    """Every edit by its name, in the order of the report. sentences: of the filler."""
    return {
        "newline at the end": newline_at_end,
        "more blank lines": more_blank_lines,
        "two spaces after a sentence": double_spaces,
        "each sentence on its own line": sentences_on_lines,
        "paragraphs as a list": paragraphs_as_list,
        "first sentence in bold": first_sentence_bold,
        "bold and italics removed": no_emphasis,
        FILLER_BEFORE: lambda text: filler_before(text, sentences),
        FILLER_AFTER: lambda text: filler_after(text, sentences),
    }


FILLER_BEFORE, FILLER_AFTER = "filler in front", "filler at the end"


def _after_sentences(paragraph: str, space: str) -> str:
    def one(found: re.Match[str]) -> str:
        return f"{found['mark']}{space}" if found["mark"] else found[0]

    return _SENTENCE_END.sub(one, paragraph)


def _filler(sentences: tuple[str, ...], count: int) -> str:
    return " ".join(islice(cycle(sentences), count))
