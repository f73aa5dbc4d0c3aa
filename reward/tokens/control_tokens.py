"""Texts that a model would read as more than text: control tokens and turns in somebody's words.

A tokenizer makes the same ids of `<|end|>` whether the chat template wrote it or a text has it, so
an answer can end its turn, ask a question of its own and answer that. Datasets hold such marks by
accident, and a policy that is trained against a reward model finds them.
"""

import re
from collections.abc import Iterable
from itertools import pairwise

from reward.tokens.encoder import Encoder
from reward.tokens.rendering import RefusedError

# Contents that no template changes, each of which can be found again in the rendered conversation.
TURNS = [f"zqx{letter}zqx" for letter in "abcde"]
ROLES = ("system", "user", "assistant", "user", "assistant")
PLAIN_ROLE = re.compile(r"[\w -]+")  # templates write whatever role there is between their marks


class ControlTokens:
    """Finds in texts what a backbone reads as control tokens or as the border of two turns.

    That is every special token of its tokenizer, wherever it stands in a text, and all that its
    chat template writes between two turns if that is plain text (such as ` [/INST] `), unless it is
    white space alone. A border with a special token in it is found by that.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Raises InputError where the encoder's chat template cannot be used."""
        added = encoder.tokenizer.get_added_tokens_decoder()
        named = {encoder.tokenizer.token_to_id(text) for text in encoder.special.values()}
        self._ids = frozenset(i for i, token in added.items() if token.special or i in named)
        special = {added[number].content for number in self._ids if number in added}
        borders = {
            border
            for border in turn_borders(encoder)
            if border.strip() and not any(token in border for token in special)
        }
        # Longest first would not matter: only whether there is one counts.
        marks = sorted(filter(None, special | borders))
        self._pattern = re.compile("|".join(map(re.escape, marks)) or r"(?!)")
        # These tokens are also found in what the tokenizer changes into them, e.g. other letters.
        changed = any(added[number].normalized for number in self._ids if number in added)
        self._tokenizer = encoder.tokenizer if changed and encoder.tokenizer.normalizer else None

    def found_in(self, text: str) -> bool:
        """Whether a text holds a control token or the border of two turns."""
        if self._pattern.search(text):
            return True
        if self._tokenizer is None:
            return False
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return not self._ids.isdisjoint(ids)

    def __call__(self, prompt: Iterable[tuple[str, str]], answers: Iterable[str]) -> bool:
        """Whether a conversation of (role, content) or one of the answers to it holds any.

        A role that is no plain word counts as well: templates write it between their marks.
        """
        return any(
            not PLAIN_ROLE.fullmatch(role) or self.found_in(content) for role, content in prompt
        ) or any(map(self.found_in, answers))


def turn_borders(encoder: Encoder) -> set[str]:
    """What a chat template writes between two turns, with a system turn if it takes one."""
    found: set[str] = set()
    for start in (0, 1):
        roles, contents = ROLES[start:], TURNS[start:]
        turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
        try:
            text = encoder.render(turns)
        except RefusedError:
            continue
        for before, after in pairwise(contents):
            start, end = text.find(before) + len(before), text.find(after)
            if before in text and start <= end:
                found.add(text[start:end])
    return found
