"""tokenize: turn every pair into token ids and truncate them so that its sides still differ."""

from reward.harness.stage import run

import os
from pathlib import Path

from reward.harness.engine import workers
from reward.harness.files import replacing
from reward.harness.params import Params
from reward.tokens.limits import check_length
from reward.tokens.settings import MaxLength, Tokenize
from reward.tokens.tokenization import open_encoder, write_tokens


class TokenizeParams(Params):
    """What tokenize reads from params.yaml."""

    max_length: MaxLength
    tokenize: Tokenize


def tokenize(params: TokenizeParams, splits: Path, backbone: Path, tokens: Path) -> None:
    """Render the chat template, tokenise and cut the pairs of both sides of the split.

    splits: folder that split wrote. backbone: folder that download wrote. tokens: folder for the
    tokens of train.parquet and validation.parquet, in the same order.

    The columns are those of reward.tokens.records; the metadata has max_length and prompt_floor,
    the chat template where turns are merged (reward.tokens.merging), and what was left out.
    The environment variable REWARD_RAY (local, auto or HOST:PORT) has Ray's workers tokenise, one
    for each CPU of the cluster; the bytes that are written are the same.

    Raises InputError where max_length exceeds the backbone's positions, and where its chat template
    refuses a conversation and `refused` says to stop there; then nothing is written.
    """
    check_length(params.max_length, backbone)
    encoder = open_encoder(backbone, params.tokenize)
    with workers(os.environ.get("REWARD_RAY")) as in_order, replacing(tokens) as folder:
        folder.mkdir()
        for side in ("train", "validation"):
            pairs = splits / f"{side}.parquet"
            records = folder / f"{side}.parquet"
            write_tokens(pairs, encoder, params.tokenize, params.max_length, records, in_order)


if __name__ == "__main__":
    run(tokenize, TokenizeParams)
