"""Scoring side by side: reward.score, transformers' pipeline and TRL's evaluation, on one model.

    python -m benchmarks.score --profile helpsteer

(p) the pipeline with its defaults, (q) the pipeline at its best batch size, (t) RewardTrainer's
evaluate at batch 8, which is given tokens rather than texts, (s) reward.score; and best of n by
reward.score, (e) each answer as a row of its own, (n) all answers in one row. In turns; medians.
Prints a table and, as its last line, one JSON object.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    PreTrainedTokenizerFast,
    PrinterCallback,
    pipeline,
)
from trl import RewardConfig, RewardTrainer

from benchmarks.pairs import PROFILES, WORDS, draw_pairs, shorten
from reward.score import score
from reward.scoring.devices import best_device, device_name, keep_freed_memory
from reward.scoring.groups import Group
from reward.scoring.quiet import quiet_transformers
from reward.scoring.settings import RewardSettings, write_settings
from reward.serving.model import RewardModel
from reward.tokens.records import Token

NAMES = {
    "p": "pipeline, defaults",
    "q": "pipeline, best batch",
    "t": "TRL's evaluation",
    "s": "reward.score",
    "e": "best of n, apart",
    "n": "best of n, together",
}
BATCH_SIZES = (1, 2, 4, 8, 16)  # tried for (q)
PAD = "<pad>"


def main(options: argparse.Namespace) -> None:
    """Measure, print the table, print the JSON line."""
    keep_freed_memory()  # as reward.score's command line does; here for all that are measured
    quiet_transformers()
    profile, random = PROFILES[options.profile], np.random.default_rng(options.seed)
    pairs = draw_pairs(profile, random, options.pairs, options.max_length)
    many = draw_many(options, random)
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_model(options, Path(scratch) / "model")
        model = RewardModel.open(folder)
        judge = pipeline("text-classification", model=str(folder), device=best_device())
        texts = [words(sequence) for pair in pairs for sequence in pair.sequences]
        best = best_batch(judge, texts)
        trainer = trl_trainer(folder, pairs, Path(scratch))
        rows = [pair_row(pair) for pair in pairs]
        apart = [row for group in many for row in single_rows(group)]
        together = [many_row(group) for group in many]
        work: dict[str, Callable[[], Any]] = {
            "p": lambda: judge(texts, add_special_tokens=False),
            "q": lambda: judge(texts, add_special_tokens=False, batch_size=best),
            "t": trainer.evaluate,
            "s": lambda: list(score(model, rows)),
            "e": lambda: list(score(model, apart)),
            "n": lambda: list(score(model, together)),
        }
        ours = [row[side] for row in work["s"]() for side in ("chosen_score", "rejected_score")]
        difference = np.abs(np.array(ours) - [one["score"] for one in work["p"]()]).max()
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(options.rounds):
            for name, run in work.items():
                seconds[name].append(timed(run))
    took = {name: statistics.median(rounds) for name, rounds in seconds.items()}
    responses = {name: len(apart) if name in "en" else len(texts) for name in work}
    for name, what in NAMES.items():
        rate = responses[name] / took[name]
        each = "" if name in "en" else f"{rate / 2:10.2f} pairs/s"
        print(f"({name}) {what:20} {rate:10.2f} responses/s {each}")
    result = {
        "s_over_p": round(took["p"] / took["s"], 3),
        "s_over_q": round(took["q"] / took["s"], 3),
        "s_over_t": round(took["t"] / took["s"], 3),
        "n_over_e": round(took["e"] / took["n"], 3),
        "best_q_batch": best,
        "largest_difference": float(difference),
        "responses_per_second": {name: round(responses[name] / took[name], 3) for name in work},
        "seconds": {name: [round(one, 4) for one in rounds] for name, rounds in seconds.items()},
        "tokens_saved_for_pairs": saved(pairs),
        "tokens_saved_for_many": saved(many),
        "profile": options.profile,
        "max_length": options.max_length,
        "pairs": options.pairs,
        "answers": options.answers,
        "model": f"gpt2 {options.layers}x{options.width}",
        "device": f"{device_name(best_device())}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "trl")},
    }
    print(json.dumps(result))


def draw_many(options: argparse.Namespace, random: np.random.Generator) -> list[Group]:
    """Prompts with n answers each, as many answers in all as the pairs have."""
    profile, groups = PROFILES[options.profile], []
    for _ in range(max(1, 2 * options.pairs // options.answers)):
        sizes = profile.prompt.draw(random, 1), profile.answers[0].draw(random, options.answers)
        (prompt,), answers = ([random.integers(0, WORDS, n) for n in part] for part in sizes)
        groups.append(shorten(prompt, answers, options.max_length))
    return groups


def saved(groups: list[Group]) -> float:
    """Tokens of all answers with their prompts, over those that are left when prompts are shared:
    what sharing would give if time went by tokens alone.
    """
    alone = sum(len(sequence) for group in groups for sequence in group.sequences)
    return round(alone / sum(group.shared_tokens for group in groups), 3)


def make_model(options: argparse.Namespace, folder: Path) -> Path:
    """A GPT-2 of random weights whose words are numbers, and a template that adds nothing."""
    torch.manual_seed(options.seed)
    config = GPT2Config(
        vocab_size=WORDS + 1,
        n_layer=options.layers,
        n_embd=options.width,
        n_head=max(1, options.width // 64),
        n_positions=max(1024, options.max_length),
        pad_token_id=WORDS,
        bos_token_id=None,
        eos_token_id=None,
        problem_type="regression",
    )
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    vocabulary = {str(number): number for number in range(WORDS)} | {PAD: WORDS}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD)
    fast.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    fast.save_pretrained(folder)
    settings = RewardSettings(max_length=options.max_length, prompt_floor=0.0, mean=0.0, std=1.0)
    write_settings(folder, settings)
    return folder


def words(ids: np.ndarray) -> str:
    return " ".join(map(str, ids.tolist()))


def many_row(group: Group) -> dict[str, Any]:
    """A group as the row of a file: the common part is the prompt."""
    answers = [words(sequence[group.prefix :]) for sequence in group.sequences]
    return {"prompt": words(group.sequences[0][: group.prefix]), "responses": answers}


def pair_row(group: Group) -> dict[str, Any]:
    row = many_row(group)
    chosen, rejected = row["responses"]
    return {"prompt": row["prompt"], "chosen": chosen, "rejected": rejected}


def single_rows(group: Group) -> list[dict[str, Any]]:
    row = many_row(group)
    return [{"prompt": row["prompt"], "response": answer} for answer in row["responses"]]


def best_batch(judge: Any, texts: list[str]) -> int:
    """The batch size at which the pipeline is fastest; each gets one round."""
    took = {
        size: timed(lambda: judge(texts, add_special_tokens=False, batch_size=size))  # noqa: B023
        for size in BATCH_SIZES
    }
    print("(q) by batch size:", {size: f"{seconds:.2f} s" for size, seconds in took.items()})
    return min(took, key=took.__getitem__)


def trl_trainer(folder: Path, pairs: list[Group], scratch: Path) -> RewardTrainer:
    chosen, rejected = zip(*(pair.sequences for pair in pairs), strict=True)
    data = Dataset.from_dict({Token.CHOSEN_IDS: chosen, Token.REJECTED_IDS: rejected})
    device = best_device()
    trainer = RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(folder),
        args=RewardConfig(
            output_dir=str(scratch / "trl"),
            per_device_eval_batch_size=8,
            max_length=None,  # the pairs have been truncated
            use_cpu=device.type == "cpu",
            bf16=device.type == "cuda",
            dataloader_pin_memory=device.type == "cuda",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=data,
        eval_dataset=data,
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def timed(run: Callable[[], Any]) -> float:
    """Seconds that a call takes; results come back to the CPU, so there is nothing to wait for."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    of_pairs = [name for name, profile in PROFILES.items() if profile.pairs == 1]
    add("--profile", choices=of_pairs, default="helpsteer", help="lengths of the pairs")
    add("--max-length", type=int, default=2048, help="tokens of a prompt and a response")
    add("--pairs", type=int, default=96, help="pairs scored in a round")
    add("--answers", type=int, default=8, help="answers to a prompt, for best of n")
    add("--layers", type=int, default=4, help="layers of the model")
    add("--width", type=int, default=768, help="width of the model")
    add("--rounds", type=int, default=5, help="rounds, of which the median is taken")
    add("--seed", type=int, default=0, help="random seed of weights and texts")
    return parser.parse_args()


if __name__ == "__main__":
    main(read_options())
