"""Requests as OpenRLHF sends them to a remote reward model.

{"query": [...], "prompts": [...], "labels": [...]}: each query is a prompt with its answer,
rendered by a chat template; so are the prompts, and labels are not needed. What comes back is
{"rewards": [...], "scores": [...], "extra_logs": {}}.

OpenRLHF 0.11.2 sends and reads this in openrlhf/utils/agent.py (option --reward.remote_url), a
query at a time, and answers it in openrlhf/cli/serve_rm.py.
"""

import numpy as np
from pydantic import BaseModel, ValidationError

from reward.harness.errors import InputError
from reward.tokens.encoder import Encoder
from reward.tokens.prefix import Ids, common_prefix
from reward.tokens.truncation import Encoded

SHAPE = '{"query": [texts], "prompts": [texts]}'


class Queries(BaseModel):
    """The body of a request."""

    query: list[str]
    prompts: list[str] | None = None


def read_queries(body: bytearray) -> Queries:
    """A request's body; InputError where it is none."""
    try:
        read = Queries.model_validate_json(body)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"])) or "the body"
        raise InputError(f"{place}: {wrong['msg']}; send {SHAPE}.") from None
    if read.prompts is not None and len(read.prompts) != len(read.query):
        raise InputError(
            f"{len(read.query)} queries and {len(read.prompts)} prompts do not match: send as "
            f"many of each, or no prompts."
        )
    return read


def encode_queries(encoder: Encoder, queries: Queries) -> list[Encoded]:
    """The ids of each query, cut in two where its prompt ends.

    Each is tokenised as it stands, whole and with no special tokens added, as OpenRLHF's server
    does. Where the prompt ends matters for texts that are too long: it gives way first
    (reward.tokens.truncation). A query that does not begin with its prompt is all answer.

    Raises InputError naming a query without tokens, or with one that the model does not know.
    """
    texts, prompts = queries.query, queries.prompts or [""] * len(queries.query)
    both = encoder.tokenizer.encode_batch_fast([*texts, *prompts], add_special_tokens=False)
    ids = [np.array(one.ids, dtype=np.int32) for one in both]
    found = [*map(_divided, ids[: len(texts)], ids[len(texts) :])]
    for number, one in enumerate(ids[: len(texts)]):
        if not len(one):
            raise InputError(f"query.{number} has no tokens: leave it out.")
        if not encoder.has_embedding(int(one.max())):
            raise InputError(
                f"query.{number} has a token without an embedding in the model: render it with "
                f"the model's own chat template."
            )
    return found


def _divided(text: Ids, prompt: Ids) -> Encoded:
    shared = common_prefix(text, prompt)  # a token may span the place where the answer begins
    return Encoded(text[:shared], [text[shared:]])
