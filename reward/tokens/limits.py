"""What a backbone's config.json says of its limits: positions, and tokens with an embedding."""

from pathlib import Path
from typing import Any

from reward.harness.errors import InputError
from reward.harness.files import read_foreign_json

# Whose positions are counted from the padding token's id on: so many of their embeddings, and the
# padding's own, are never used by a token.
POSITIONS_AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)


def check_length(max_length: int, folder: Path) -> None:
    """Raise InputError where max_length exceeds the positions that config.json names, if any."""
    config = read_config(folder / "config.json")
    config = config.get("text_config", config)
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if positions is not None and config.get("model_type") in POSITIONS_AFTER_PADDING:
        positions -= config.get("pad_token_id", 1) + 1
    if positions is not None and max_length > positions:
        raise InputError(
            f"max_length={max_length} exceeds the backbone's {positions} positions: "
            f"lower max_length or choose another backbone."
        )


def embeddings(folder: Path) -> int | None:
    """How many tokens have an embedding, as config.json says it."""
    config = read_config(folder / "config.json")
    size = config.get("text_config", config).get("vocab_size")
    return size if isinstance(size, int) else None


def read_config(path: Path) -> dict[str, Any]:
    """A JSON file of a backbone; empty where it is not there."""
    if not path.is_file():
        return {}
    return read_foreign_json(path, str(path), "fetch it again or choose another backbone")
