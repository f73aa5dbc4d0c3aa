"""tokenize: turn every pair into token ids and truncate them so that its sides still differ."""

from reward.harness.stage import run

import os
from pathlib import Path

from reward.harness.engine import workers
from reward.harness.files import replacing
from reward.harness.params import Params
from reward.tokens.encoder import Encoder, check_length
from reward.tokens.records import TokenSettings
from reward.tokens.tokenization import MaxLength, Tokenize, write_tokens


class TokenizeParams(Params):
    """What tokenize reads from params.yaml."""

    max_length: MaxLength
    tokenize: Tokenize


def tokenize(params: TokenizeParams, splits: Path, backbone: Path, tokens: Path) -> None:
    """Write train.parquet and validation.parquet, in the order of `splits`, to `tokens`.

    The columns are those of reward.tokens.records; the metadata has max_length and prompt_floor.
    The environment variable REWARD_RAY (local, auto or HOST:PORT) has Ray's workers tokenise, one
    for each CPU of the cluster; the bytes that are written are the same.

    Raises InputError where max_length exceeds the backbone's positions or its chat template refuses
    a conversation; then nothing is written.
    """
    check_length(params.max_length, backbone)
    encoder = Encoder(backbone)
    settings = TokenSettings(params.max_length, params.tokenize.prompt_floor)
    with workers(os.environ.get("REWARD_RAY")) as in_order, replacing(tokens) as folder:
        folder.mkdir()
        for side in ("train", "validation"):
            pairs = splits / f"{side}.parquet"
            write_tokens(pairs, encoder, settings, folder / f"{side}.parquet", in_order)


if __name__ == "__main__":
    run(tokenize, TokenizeParams)
