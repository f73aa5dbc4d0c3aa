"""How a conversation becomes token ids: chat template and tokenizer."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import AddedToken, Tokenizer

from reward.harness.errors import InputError, first_line
from reward.tokens.chat_template import default_template, template_of
from reward.tokens.left_out import left_out
from reward.tokens.limits import embeddings, read_config
from reward.tokens.prefix import common_prefix
from reward.tokens.rendering import ChatMessage, ChatTemplate, RefusedError, Work
from reward.tokens.truncation import Encoded


class NoEmbeddingError(RefusedError):
    """A conversation has a token that the model has no embedding for."""

    reason = "token_without_embedding"
    merging_helps = False


class Whole(NamedTuple):
    """What a prompt and the answers to it become, and what of their texts does not."""

    encoded: Encoded
    prompt_left_out: bool
    """Whether the chat template leaves out some of the prompt's text, or changes it."""
    answers_left_out: list[bool]
    """The same of each answer's text."""


class Encoder:
    """Chat template and tokenizer of a backbone or model folder, without transformers.

    Gives the text and the ids that `apply_chat_template` of transformers' AutoTokenizer gives for
    the same folder, with one exception: `strftime_now` gives a fixed date, because ids that change
    from day to day could not be reproduced.

    Where the folder has no chat template, turns are written as `User: ...` and `Assistant: ...`,
    one a line. Each ends with the token that the tokenizer puts after a text by itself, else with
    its end-of-sequence token; the first begins with the tokens that the tokenizer puts before a
    text. Rendered text is always encoded without adding special tokens, so nothing is there twice.

    folder: the one that was opened.
    chat_template: the template in use, to be saved with a model that is trained on these ids.
    replaced: whether that is not the folder's own.
    starts: ids of the tokens that may only stand first (BOS, CLS).
    tokenizer: as it encodes texts: with all its tokens, without truncation or padding.
    special: the named special tokens (bos_token, eos_token, ...).
    """

    folder: Path
    chat_template: str
    replaced: bool
    starts: frozenset[int]
    tokenizer: Tokenizer
    special: dict[str, str]

    def __init__(
        self, folder: Path, name: str | None = None, *, chat_template: str | None = None
    ) -> None:
        """name: what sentences call the folder, where it is not its own path. chat_template: the
        one to use in place of the folder's.

        Raises InputError where the folder has no usable tokenizer. Whether its template is valid
        shows with the first text.
        """
        if not (folder / "tokenizer.json").is_file():
            raise InputError(
                f"{folder} has no tokenizer.json: "
                f"choose a backbone with a fast tokenizer or convert it with transformers."
            )
        settings = _settings(folder)
        self.folder = folder
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.tokenizer.no_truncation()
            self.tokenizer.no_padding()
            _add_tokens(self.tokenizer, settings)
            self.special = _special_tokens(folder, settings, self.tokenizer)
        except InputError:
            raise
        except Exception as error:  # tokenizers raises no kind of its own, foreign values any
            raise InputError(
                f"The tokenizer in {folder} cannot be used ({first_line(error)}): fetch it again "
                f"or choose another backbone."
            ) from error
        self._embeddings = embeddings(folder)
        template = chat_template or template_of(folder, settings)
        self.replaced = chat_template is not None
        self.chat_template = template or default_template(self.tokenizer, self.special)
        self._template = ChatTemplate(self.chat_template, self.special, name or str(folder))
        self._cut = _cut_pattern(self.tokenizer)
        first = [self.special[name] for name in ("bos_token", "cls_token") if name in self.special]
        ids = map(self.tokenizer.token_to_id, first)
        self.starts = frozenset(number for number in ids if number is not None)

    def render(
        self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = False
    ) -> str:
        """The conversation as one text; see `encode` for what is raised."""
        ((texts,),) = self._template.texts([(messages, [add_generation_prompt])])
        if isinstance(texts, RefusedError):
            raise texts
        return texts[0]

    def encode(
        self, prompts: Sequence[Sequence[ChatMessage]], responses: Sequence[Sequence[str]]
    ) -> list[Encoded]:
        """Ids of every prompt with each of its responses, nothing truncated.

        prompts: conversations, each ending with a turn to be answered; responses: the assistant's
        answers to the prompt at the same place, one, two (a pair) or more.
        The ids of a prompt followed by those of a response are exactly the ids of the whole text.
        The prompt's ids are the longest common prefix of the rendered prompt and of all its whole
        texts, because a token may span the place where the response begins.

        Raises RefusedError (reward.tokens.rendering) where the template refuses a conversation or
        the model has no embedding for one of its tokens, and InputError where the template cannot
        be used at all.
        """
        found = []
        for one in self.encode_each(prompts, responses):
            if isinstance(one, RefusedError):
                raise one
            found.append(one.encoded)
        return found

    def encode_each(
        self, prompts: Sequence[Sequence[ChatMessage]], responses: Sequence[Sequence[str]]
    ) -> list[Whole | RefusedError]:
        """The same, and what the template left out; in the place of a prompt that would raise
        RefusedError stands that error.
        """
        work: list[Work] = [
            (p, [True, *answers]) for p, answers in zip(prompts, responses, strict=True)
        ]
        rest = iter(zip(prompts, responses, strict=True))
        return [
            one
            for chunk in self._template.texts(work)
            for one in self._wholes(chunk, [*islice(rest, len(chunk))])
        ]

    def _wholes(
        self,
        rendered: list[list[str] | RefusedError],
        conversations: Sequence[tuple[Sequence[ChatMessage], Sequence[str]]],
    ) -> Iterator[Whole | RefusedError]:
        """What was rendered, as ids; of each prompt, its own text and all whole texts."""
        ids = self._ids([texts for texts in rendered if not isinstance(texts, RefusedError)])
        for texts, (prompt, answers) in zip(rendered, conversations, strict=True):
            if isinstance(texts, RefusedError):
                yield texts
                continue
            encoded = next(ids)
            refused = self._without_embedding(encoded)
            contents = [message["content"] for message in prompt]
            yield refused or Whole(encoded, *left_out(contents, answers, texts))

    def _ids(self, rendered: list[list[str]]) -> Iterator[Encoded]:
        texts: list[str] = []
        for opening, *wholes in rendered:
            # A special token always separates what stands before it from what comes after it, so
            # the prompt up to its last one is encoded once for all responses. Both parts contain
            # that token: it shields the second part from what tokenizers do at a text's start.
            cut = self._cut.match(opening) if self._cut else None
            if cut and all(whole.startswith(opening) for whole in wholes):
                texts.append(opening[: cut.end(1)])
                texts.extend(text[cut.start(1) :] for text in [opening, *wholes])
            else:
                texts.extend(["", opening, *wholes])
        encodings = iter(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        for each in rendered:
            yield _join([next(encodings).ids for _ in range(len(each) + 1)])

    def has_embedding(self, number: int) -> bool:
        """Whether a token of this id has an embedding, as far as config.json says how many are."""
        return self._embeddings is None or number < self._embeddings

    def _without_embedding(self, encoded: Encoded) -> NoEmbeddingError | None:
        highest = max(int(ids.max(initial=0)) for ids in (encoded.prompt, *encoded.responses))
        if self.has_embedding(highest):
            return None
        token = self.tokenizer.id_to_token(highest)
        return NoEmbeddingError(
            f"The token {token!r} has the id {highest}, and the model in {self.folder} has "
            f"embeddings for the ids below {self._embeddings} (vocab_size in its config.json)",
            "choose one whose embeddings were resized to its tokenizer, or remove the token from "
            "data and chat template",
        )


def _join(parts: list[list[int]]) -> Encoded:
    """Ids of [head, rest of the prompt, rest of each whole text]; the rests repeat head's last."""
    head, opening, *rests = (np.array(ids, dtype=np.int32) for ids in parts)
    shared = common_prefix(opening, *rests)
    prompt = np.concatenate([head[:-1], opening[:shared]])
    return Encoded(prompt, [rest[shared:] for rest in rests])


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, and special_tokens_map.json where transformers still reads it."""
    settings = read_config(folder / "tokenizer_config.json")
    if "added_tokens_decoder" not in settings:
        settings |= read_config(folder / "special_tokens_map.json")
    return settings


def _add_tokens(tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
    """Tokens that only tokenizer_config.json knows, in the order of their ids, then the named."""
    decoder = settings.get("added_tokens_decoder", {})
    tokens = [AddedToken(**decoder[key]) for key in sorted(decoder, key=int)]
    tokens += [
        AddedToken(name, special=True, normalized=False) for name in _named(settings).values()
    ]
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    tokenizer.add_tokens([token for token in tokens if token.content not in known])


def _named(settings: dict[str, Any]) -> dict[str, str]:
    """The values of bos_token, eos_token and the like; each is a text or a saved AddedToken."""
    values = {key: value for key, value in settings.items() if key.endswith("_token") and value}
    texts = {key: v["content"] if isinstance(v, dict) else v for key, v in values.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _special_tokens(folder: Path, settings: dict[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    """The named special tokens; config.json's ids stand in for names that are not given at all.

    Old folders rely on defaults in the tokenizer's class; their config.json has the same ids.
    """
    config = read_config(folder / "config.json")
    special = _named(settings)
    for name in ("bos_token", "eos_token"):
        number = config.get(f"{name}_id")
        token = tokenizer.id_to_token(number) if isinstance(number, int) else None
        if name not in settings and token is not None:
            special[name] = token
    return special


def _cut_pattern(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Finds the last special token of a text, as group 1, among those that are found for certain.

    Certain are the tokens that are matched in the text as it is, wherever it stands, and that
    share no character with a neighbour: no other token contains them, none ends as they begin or
    begins as they end.
    """
    added = list(tokenizer.get_added_tokens_decoder().values())
    contents = [token.content for token in added]
    begins = {text[:end] for text in contents for end in range(1, len(text) + 1)}
    ends = {text[start:] for text in contents for start in range(len(text))}
    certain = [
        re.escape(token.content)
        for token in added
        if token.special
        and not token.normalized
        and not token.single_word
        and not any(token.content[start:] in begins for start in range(1, len(token.content)))
        and not any(token.content[:end] in ends for end in range(1, len(token.content)))
        and sum(token.content in text for text in contents) == 1
    ]
    return re.compile(f"(?s:.*)({'|'.join(certain)})") if certain else None
