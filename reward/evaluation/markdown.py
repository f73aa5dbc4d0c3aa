"""What of an answer is Markdown, by its marks: code, plain paragraphs, formats."""

import re
from collections.abc import Callable

# A fence that nothing closes goes on to the end of the text (CommonMark 0.31.2, section 4.5).
_FENCED = re.compile(
    r"^[ \t]*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[^\n]*"
    r"(?:\n.*?(?:^[ \t]*(?P=fence)[`~]*[ \t\r]*$|\Z)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_LINE = r"[^\S\n]*+\S[^\n]*"
_PARAGRAPH = re.compile(rf"^{_LINE}(?:\n{_LINE})*+", re.MULTILINE)
# How a line begins that is no part of plain text: indented, of a list, heading, quote, table, rule.
_MARKED = re.compile(
    r"^(?:\s|(?:[-*+]|\d+[.)]|#{1,6})(?:\s|$)|>|\||[-*_=]{3,}\s*$|\S.*\|.*\|)", re.MULTILINE
)

FORMATS = {
    "list": re.compile(r"^[ \t]*(?:[-*+]|\d+[.)])[ \t]+\S", re.MULTILINE),
    "bold": re.compile(r"\*\*(?=[^\s*])[^*\n]*\*\*"),
    "heading": re.compile(r"^#{1,6}[ \t]+\S", re.MULTILINE),
}
CODE = "code block"
NAMES = (*FORMATS, CODE)


def formats(text: str) -> list[bool]:
    """Which of NAMES a text has; within a code block nothing is a list, bold or a heading."""
    prose = _FENCED.sub("", text)
    found = [pattern.search(prose) is not None for pattern in FORMATS.values()]
    return [*found, _FENCED.search(text) is not None]


def outside_code(text: str, edit: Callable[[str], str]) -> str:
    """The text with `edit` done to each part of it that is in no code block."""
    parts, end = [], 0
    for fenced in _FENCED.finditer(text):
        parts += [edit(text[end : fenced.start()]), fenced[0]]
        end = fenced.end()
    return "".join([*parts, edit(text[end:])])


def plain_paragraphs(text: str, edit: Callable[[str], str]) -> str:
    """The text with `edit` done to each paragraph that is plain text: lines one after another, none
    in a code block or marked as part of a list, a heading, a quote or a table.
    """

    def one(found: re.Match[str]) -> str:
        return found[0] if _MARKED.search(found[0]) else edit(found[0])

    return outside_code(text, lambda prose: _PARAGRAPH.sub(one, prose))
