"""Errors that a user can mend, and text that a terminal can show."""


class InputError(Exception):
    """Something the user can mend, in one sentence: the value, the rule, the cure."""

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """A text that may come from a dataset, for a terminal: what could steer it is escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def first_line(error: Exception) -> str:
    """What a library's error says first, to stand in a sentence."""
    return str(error).strip().split("\n")[0].rstrip(".")
