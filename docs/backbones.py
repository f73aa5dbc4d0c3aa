"""The table in docs/backbones.md: python -m docs.backbones

Every architecture that the installed transformers makes a sequence classifier of is made small,
with random weights, and trained one step as the stage train does it. Takes minutes, and no network.
"""

import logging
import multiprocessing
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
)

from reward.harness.errors import InputError, first_line
from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group
from reward.scoring.head import head_names
from reward.scoring.quiet import quiet_transformers
from reward.scoring.scorer import Scorer
from reward.sources.usable import check_config
from reward.training.gradient import BatchGradient
from reward.training.losses import LOSSES
from reward.training.network import build_network
from reward.training.objective import Objective

PAGE = Path(__file__).with_suffix(".md")
START = "<!-- the table: python -m docs.backbones -->"
SECONDS = 120  # that one architecture may take
CLOSE = 1e-5  # to what transformers gives: a few roundings of rewards around 1

# Small values for what configs call their sizes; one that has none of a name keeps its own.
WORDS, WIDTH, LAYERS = 64, 32, 2
SMALL: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "n_vocab", "n_words", "vocabulary_size"), WORDS),
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "emb_dim", "embedding_size"), WIDTH
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers"), LAYERS
    ),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "multi_query_num_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_inner", "n_inner", "d_ff"), 64),
    **dict.fromkeys(("hidden_dim", "encoder_ffn_dim", "ffn_hidden_size"), 64),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 128),
    **dict.fromkeys(("head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
}

# What an architecture needs beside these, or calls by its own names.
LINEAR_FIRST = {"layer_types": ["linear_attention", "full_attention"]}
SPECIAL: dict[str, dict[str, Any]] = {
    "esm": {"mask_token_id": 3},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "axk2": {"index_head_dim": 16, "index_n_heads": 4},
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4}
            for kind in ("full_attention", "sliding_attention")
        }
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {
        "coordinate_size": 6,
        "shape_size": 4,
        "visual_embed": False,
        "has_relative_attention_bias": False,
        "has_spatial_attention_bias": False,
    },
    "lilt": {"hidden_size": 48, "channel_shrink_ratio": 2},
    "minimax": {"layer_types": ["linear_attention", "full_attention"]},
    "mistral4": {"head_dim": 16},
    "qwen3_5": {"text_config": LINEAR_FIRST},
    "qwen3_5_text": LINEAR_FIRST,
    "qwen3_next": LINEAR_FIRST,
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "local"]},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
}

SHARED, PADDED, ALONE, REFUSED = ANSWERS = (
    "shared prefixes",
    "padded rows",
    "one at a time",
    "refused",
)


class Row(NamedTuple):
    """What the table says of an architecture."""

    kind: str  # model_type in config.json
    network: str  # the class of transformers
    head: str
    answers: str  # one of ANSWERS
    why: str


def small_config(kind: str) -> PreTrainedConfig:
    """A config of an architecture with small sizes, one label and its own ways."""
    values = merged(small_values(AutoConfig.for_model(kind)), SPECIAL.get(kind, {}))
    return AutoConfig.for_model(kind, **values, num_labels=1)


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two nested dictionaries as one."""
    both = values.keys() & more.keys()
    inner = {key: merged(values[key], more[key]) for key in both if isinstance(more[key], dict)}
    return values | more | inner


def small_values(config: PreTrainedConfig) -> dict[str, Any]:
    """Arguments that make a config of this class a small one, parts of it too."""
    has = vars(config)
    known = {*has, *config.attribute_map}
    values = {name: value for name, value in SMALL.items() if name in known}
    if has.get("num_key_value_heads") in (None, has.get("num_attention_heads")):
        values.pop("num_key_value_heads", None)  # no grouped queries
        if "num_key_value_heads" in has:
            values["num_key_value_heads"] = SMALL["num_attention_heads"]
    for name in config.sub_configs:
        if isinstance(has.get(name), PreTrainedConfig):
            values[name] = small_values(has[name]) | {"model_type": has[name].model_type}
    return values


def random_groups() -> list[Group]:
    """Eight pairs with common prefixes, of odd lengths, without padding and control tokens."""
    draw = np.random.default_rng(0)
    groups = []
    for _ in range(8):
        parts = [draw.integers(8, WORDS, length) for length in draw.integers(3, 20, 3)]
        groups.append(Group.of([np.concatenate([parts[0], end]) for end in parts[1:]]))
    return groups


def own_rewards(network: PreTrainedModel, groups: Iterable[Group]) -> np.ndarray:
    """What transformers gives for each answer alone: (answers,)."""
    rows = [torch.from_numpy(one)[None] for group in groups for one in group.sequences]
    with torch.no_grad():
        return np.array([network(input_ids=row).logits.item() for row in rows])


def tried(kind: str) -> Row:
    """Download's checks, a network, shared prefixes, a step and the folder that is saved."""
    name = str(CLASSIFIERS[kind])
    with tempfile.TemporaryDirectory() as temporary, sentences() as said:
        folder, head, answers, why = Path(temporary), "", REFUSED, ""
        try:
            small_config(kind).save_pretrained(folder)
            (folder / "source.json").write_text('{"weights": []}', encoding="utf-8")
            check_config(kind, folder / "config.json", has_weights=True)
            network = build_network(folder, 0, torch.float32).eval()
            head = ", ".join(head_names(network))
            answers = step(network, folder / "model")
            why = " ".join(one for one in said if one.startswith(name))
        except InputError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  # of a hundred architectures
            why = f"{type(error).__name__}: {first_line(error)}"
    why = why.replace(str(folder), "data/backbone")
    for left_out in (f"{name}: ", f"The backbone {kind} ({kind}) "):
        why = why.replace(left_out, "")
    return Row(kind, name, head, answers, why.split(": choose")[0].rstrip("."))


@contextmanager
def sentences() -> Iterator[list[str]]:
    """What this project logs in the block."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("reward")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def step(network: PreTrainedModel, folder: Path) -> str:
    """One step of training and the model saved to `folder`; returns how answers are computed.

    Raises ValueError where rewards are not those that transformers gives for each answer alone,
    before the step or of the saved model, and where the step does not lower the loss.
    """
    for weight in network.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.1)
    groups = random_groups()
    number = np.arange(len(groups))
    compared = Comparisons(groups, np.array([(i, 0, 1) for i in number]), number)
    objective = Objective(
        compared,
        np.zeros(len(groups), np.float32),
        LOSSES["bradley-terry"],
        centring_factor=0.01,
        weighting="pairs",
    )
    before = own_rewards(network, groups)
    scorer = Scorer(network)
    scorer.share_prefixes(groups)
    check(np.concatenate(scorer.score(groups, 400, None)), before)
    gradient = BatchGradient(
        objective, scorer, Accelerator(cpu=True), budget=400, autocast=nullcontext, sharded=False
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    first = gradient.add(network, range(len(groups)))[0].item()
    optimiser.step()
    optimiser.zero_grad()
    second = gradient.add(network, range(len(groups)))[0].item()
    if not second < first:
        raise ValueError(f"a step takes the loss from {first:.4f} to {second:.4f}")
    after = np.concatenate(scorer.score(groups, 400, None))
    network.save_pretrained(folder)
    opened = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    check(after, own_rewards(opened, groups))
    return SHARED if scorer.shared else ALONE if scorer.alone else PADDED


def check(found: np.ndarray, expected: np.ndarray) -> None:
    """Raise ValueError where rewards are not those that transformers gives."""
    difference = np.abs(found - expected).max()
    if not difference <= CLOSE * max(1, np.abs(expected).max()):
        raise ValueError(f"rewards differ by {difference:.1e} from those of each answer alone")


def in_process(kind: str, pipe: Connection) -> None:
    pipe.send(tried(kind))


def row_of(kind: str) -> Row:
    """The row of an architecture, made in a process of its own, which may crash or hang."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=in_process, args=(kind, theirs))
    process.start()
    theirs.close()
    name = str(CLASSIFIERS[kind])
    try:
        if mine.poll(SECONDS):
            return mine.recv()
        return Row(kind, name, "", REFUSED, f"it takes more than {SECONDS} seconds")
    except EOFError:
        return Row(kind, name, "", REFUSED, "its process crashed")
    finally:
        process.kill()
        process.join()


def line(row: Row) -> str:
    """A line of the table."""
    kind, _, head, answers, why = (part.replace("|", "\\|") for part in row)
    return f"| `{kind}` | {f'`{head}`' if head else ''} | {answers} | {why} |"


def table(rows: Iterable[Row]) -> str:
    """The table, and how many rows are of each kind."""
    rows = list(rows)
    counts = Counter(row.answers for row in rows)
    summary = ", ".join(f"{counts[answers]} {answers}" for answers in ANSWERS)
    return "\n".join(
        [
            f"With transformers {version('transformers')}: {len(rows)} architectures, {summary}.",
            "",
            "| `model_type` | head | answers | why |",
            "|---|---|---|---|",
            *map(line, rows),
            "",
        ]
    )


def main() -> None:
    """Write the table into the page."""
    torch.set_num_threads(1)
    quiet_transformers()
    warnings.simplefilter("ignore")
    rows = [row_of(kind) for kind in tqdm(sorted(CLASSIFIERS), disable=None)]
    text, start, _ = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(f"{text}{start}\n\n{table(rows)}", encoding="utf-8")


if __name__ == "__main__":
    main()
