"""How a conversation becomes token ids: chat template, tokenizer, truncation."""

import json
import re
from collections.abc import Container, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils
import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer

from reward.stage import InputError

Ids = NDArray[np.int32]  # token ids, one dimension
Message = dict[str, str]  # role and content


class Encoded(NamedTuple):
    """A prompt and responses to it: `prompt` followed by `responses[i]` is the i-th whole text."""

    prompt: Ids
    responses: list[Ids]


class Encoder:
    """Chat template and tokenizer of a backbone or model folder, without transformers.

    Gives the text and the ids that `apply_chat_template` of transformers' AutoTokenizer gives for
    the same folder, with one exception: `strftime_now` tells a fixed date, because ids that change
    from day to day could not be reproduced.

    Where the folder has no chat template, turns are written as `User: ...` and `Assistant: ...`,
    one a line. Each ends with the token that the tokenizer puts after a text by itself, else with
    its end-of-sequence token; the first begins with the tokens that the tokenizer puts before a
    text. Rendered text is always encoded without adding special tokens, so nothing is there twice.

    chat_template: the template in use, to be saved with a model that is trained on these ids.
    starts: ids of the tokens that may only stand first (BOS, CLS).
    """

    chat_template: str
    starts: frozenset[int]

    def __init__(self, folder: Path) -> None:
        """Raises InputError where the folder has no tokenizer.json or its template is broken."""
        if not (folder / "tokenizer.json").is_file():
            raise InputError(
                f"{folder} has no tokenizer.json: "
                f"choose a backbone with a fast tokenizer or convert it with transformers."
            )
        settings = _settings(folder)
        self._folder = folder
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        _add_tokens(self._tokenizer, settings)
        self._special = _special_tokens(folder, settings, self._tokenizer)
        template = _folder_template(folder, settings)
        self.chat_template = template or _default_template(self._tokenizer, self._special)
        self._template = _compile(self.chat_template, folder)
        self._cut = _cut_pattern(self._tokenizer)
        first = [
            self._special[name] for name in ("bos_token", "cls_token") if name in self._special
        ]
        ids = map(self._tokenizer.token_to_id, first)
        self.starts = frozenset(number for number in ids if number is not None)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as one text.

        Raises InputError where the template refuses it, e.g. because it knows no system turns.
        """
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special,
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise InputError(
                f"The chat template in {self._folder} refuses a conversation with the roles "
                f"{roles} ({error}): remove such turns from the data or choose another backbone."
            ) from None

    def encode(
        self, prompts: Sequence[Sequence[Message]], responses: Sequence[Sequence[str]]
    ) -> list[Encoded]:
        """Ids of every prompt with each of its responses, nothing truncated.

        prompts: conversations, each ending with a turn to be answered; responses: the assistant's
        answers to the prompt at the same place, one, two (a pair) or more.
        The ids of a prompt followed by those of a response are exactly the ids of the whole text.
        The prompt's ids are the longest common prefix of the rendered prompt and of all its whole
        texts, because a token may span the place where the response begins.
        """
        texts: list[str] = []
        for prompt, answers in zip(prompts, responses, strict=True):
            opening = self.render(prompt, add_generation_prompt=True)
            wholes = [
                self.render([*prompt, {"role": "assistant", "content": answer}])
                for answer in answers
            ]
            # A special token always separates what stands before it from what comes after it, so
            # the prompt up to its last one is encoded once for all responses. Both parts contain
            # that token: it shields the second part from what tokenizers do at a text's start.
            cut = self._cut.match(opening) if self._cut else None
            if cut and all(whole.startswith(opening) for whole in wholes):
                texts.append(opening[: cut.end(1)])
                texts.extend(text[cut.start(1) :] for text in [opening, *wholes])
            else:
                texts.extend(["", opening, *wholes])
        encodings = iter(self._tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        return [_join([next(encodings).ids for _ in range(len(a) + 2)]) for a in responses]


def check_length(max_length: int, folder: Path) -> None:
    """Raise InputError where max_length exceeds the positions that config.json tells, if any."""
    config = _read(folder / "config.json")
    config = config.get("text_config", config)
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if positions is not None and max_length > positions:
        raise InputError(
            f"max_length={max_length} exceeds the backbone's {positions} positions: "
            f"lower max_length or choose another backbone."
        )


def truncate(
    prompt: Ids,
    responses: Sequence[Ids],
    max_length: int,
    prompt_floor: float,
    starts: Container[int],
) -> Encoded:
    """Shorten a prompt and the responses to it so that each whole text fits into `max_length`.

    The rule, with prompt P, responses R1 .. Rn and lengths in tokens:
    1. Where len(P) + max(len(Ri)) <= max_length, nothing changes.
    2. Else P gives way on its left, down to floor(prompt_floor * max_length) tokens, at least one.
       A first token out of `starts` stays first.
    3. What is then still too long is cut on the right of the responses.
    4. Where that would make responses equal that are not, i.e. they differ only after the cut, the
       same rule is applied with P and the responses' common start in the place of P. (With more
       than two responses, some of them may still become equal.)

    All responses keep the same prompt, so how much of it is left depends on the longest of them.
    That cannot be avoided: a prompt that is left alone where it fits, and that is the same for both
    responses, has to know both. A response on its own (n = 1) is cut by its own length alone; its
    ids equal those that it has in a pair where the pair fits, where it is the longer of the two,
    and where both bring the prompt down to its floor, as long as rule 4 is not needed.

    max_length: at least 2; prompt_floor: a share, 0 <= prompt_floor < 1.
    """
    longest = max(len(response) for response in responses)
    if len(prompt) + longest <= max_length:
        return Encoded(prompt, list(responses))
    floor = max(1, int(prompt_floor * max_length))
    room = max(max_length - longest, min(len(prompt), floor))
    short = [response[: max_length - room] for response in responses]
    if len(responses) > 1 and all(np.array_equal(short[0], other) for other in short[1:]):
        shared = common_prefix(*responses)
        # Responses without any difference would come back here for ever.
        if shared < longest:
            context = np.concatenate([prompt, responses[0][:shared]])
            tails = [response[shared:] for response in responses]
            return truncate(context, tails, max_length, prompt_floor, starts)
    return Encoded(_last(prompt, room, starts), short)


def common_prefix(first: Ids, *others: Ids) -> int:
    """Length of the longest common prefix, in tokens."""
    length = len(first)
    for other in others:
        length = min(length, len(other))
        differs = np.flatnonzero(first[:length] != other[:length])
        length = int(differs[0]) if len(differs) else length
    return length


def _last(ids: Ids, room: int, starts: Container[int]) -> Ids:
    if room and int(ids[0]) in starts:
        return np.concatenate([ids[:1], ids[len(ids) - room + 1 :]])
    return ids[len(ids) - room :]


def _join(parts: list[list[int]]) -> Encoded:
    """Ids of [head, rest of the prompt, rest of each whole text]; the rests repeat head's last."""
    head, opening, *rests = (np.array(ids, dtype=np.int32) for ids in parts)
    shared = common_prefix(opening, *rests)
    prompt = np.concatenate([head[:-1], opening[:shared]])
    return Encoded(prompt, [rest[shared:] for rest in rests])


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, and special_tokens_map.json where transformers still reads it."""
    settings = _read(folder / "tokenizer_config.json")
    if "added_tokens_decoder" not in settings:
        settings |= _read(folder / "special_tokens_map.json")
    return settings


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


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
    config = _read(folder / "config.json")
    special = _named(settings)
    for name in ("bos_token", "eos_token"):
        number = config.get(f"{name}_id")
        token = tokenizer.id_to_token(number) if isinstance(number, int) else None
        if name not in settings and token is not None:
            special[name] = token
    return special


def _folder_template(folder: Path, settings: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):
        templates = {entry["name"]: entry["template"] for entry in template}
        if "default" not in templates:
            raise InputError(
                f"{folder} has chat templates named {', '.join(templates)} but none named default: "
                f"name one of them default in tokenizer_config.json."
            )
        return templates["default"]
    return template


def _default_template(tokenizer: Tokenizer, special: dict[str, str]) -> str:
    encoding = tokenizer.encode("a")
    own = [position for position, mask in enumerate(encoding.special_tokens_mask) if not mask]
    start = "".join(encoding.tokens[: own[0]])
    end = "".join(encoding.tokens[own[-1] + 1 :]) or special.get("eos_token", "")
    quoted_start, quoted_end = (json.dumps(text, ensure_ascii=False) for text in (start, end))
    return (
        f"{{{{ {quoted_start} }}}}"
        "{% for message in messages %}"
        '{% if not loop.first %}{{ "\\n" }}{% endif %}'
        "{{ message.role | capitalize }}: {{ message.content }}"
        f"{{{{ {quoted_end} }}}}"
        "{% endfor %}"
        '{% if add_generation_prompt %}{{ "\\nAssistant:" }}{% endif %}'
    )


def _compile(template: str, folder: Path) -> jinja2.Template:
    """The template in the sandbox that transformers' `apply_chat_template` runs it in."""
    # Autoescape would change the text; it is read by a tokenizer, not by a browser.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = datetime(2024, 7, 26).strftime
    environment.globals["namespace"] = _Namespace
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise InputError(
            f"The chat template in {folder} is not valid ({error}): correct it."
        ) from None


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's text for loss masks; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  the type that jinja2 declares

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """Keeps out names that begin with an underscore: through them a template could reach Python."""

    def __init__(self, /, *args: Any, **attributes: Any) -> None:
        super().__init__()
        for name, value in dict(*args, **attributes).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"the name {name} is not allowed in a namespace")
        super().__setitem__(name, value)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


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
