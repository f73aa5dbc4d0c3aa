"""Chat templates that do not take every turn, made to take them by merging turns.

Some templates know no system turns (Gemma), none of tools, or want user and assistant in turn
(Llama 2, Mistral). Before such a template stands a few lines more, which merge what it would not
take into the user's turns. They are part of the template that is saved with the model, so whatever
opens the model merges the same turns.
"""

from pathlib import Path

from reward.tokens.encoder import Encoder
from reward.tokens.rendering import RefusedError

ROLES = {  # turns to try a template with, beside a question and its answer
    "system": ("system", "user", "assistant"),
    "tool": ("user", "assistant", "tool", "assistant"),
}
IN_A_ROW = ("user", "user", "assistant")

# What a tool gave back as Hermes 2 Pro's and Qwen 2.5's templates write it into a user turn. The
# line end after the last block is part of it: jinja2 takes it away, and so leaves what follows as
# it is where a template begins.
MERGING = """\
{%%- set merged = namespace(turns=[], role='', content='') -%%}
{%%- for message in messages -%%}
{%%- set role = 'user' if message['role'] in %(not_taken)s else message['role'] -%%}
{%%- set content = message['content'] -%%}
{%%- if message['role'] == 'tool' and role == 'user' -%%}
{%%- set content = '<tool_response>\\n' ~ content ~ '\\n</tool_response>' -%%}
{%%- endif -%%}
{%%- if loop.first -%%}
{%%- set merged.content = content -%%}
{%%- elif role == merged.role -%%}
{%%- set merged.content = merged.content ~ '\\n\\n' ~ content -%%}
{%%- else -%%}
{%%- set merged.turns = merged.turns + [{'role': merged.role, 'content': merged.content}] -%%}
{%%- set merged.content = content -%%}
{%%- endif -%%}
{%%- set merged.role = role -%%}
{%%- endfor -%%}
{%%- set messages = merged.turns + [{'role': merged.role, 'content': merged.content}] %%}
"""


def merging_encoder(folder: Path) -> Encoder:
    """The encoder of a folder, with a template that merges the turns that its own does not take.

    A system turn becomes the beginning of the user's, what a tool gave back a turn of the user's,
    and turns of the same role in a row become one, with a blank line between them. A template
    that takes all of them stays as it is.
    """
    encoder = Encoder(folder)
    not_taken = [role for role, roles in ROLES.items() if not _takes(encoder, roles)]
    if not _takes(encoder, ("user", "assistant")):
        return encoder  # nothing can be done for it
    if not not_taken and _takes(encoder, IN_A_ROW):
        return encoder
    template = MERGING % {"not_taken": not_taken} + encoder.chat_template
    return Encoder(folder, chat_template=template)


def _takes(encoder: Encoder, roles: tuple[str, ...]) -> bool:
    """Whether a template writes all turns of a conversation with these roles."""
    contents = [f"zqx{number}zqx" for number in range(len(roles))]
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
    try:
        text = encoder.render(turns)
    except RefusedError:
        return False
    return all(content in text for content in contents)
