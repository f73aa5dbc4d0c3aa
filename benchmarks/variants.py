"""The ways to train that benchmarks/train.py compares, each in a process of its own."""

import argparse
import math
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
)
from transformers import logging as transformers_logging
from trl import RewardConfig, RewardTrainer

from benchmarks.pairs import WORDS, choose_pairs
from benchmarks.work import training_flops
from reward.harness.files import write_json
from reward.harness.params import load_params
from reward.scoring.border import Border
from reward.scoring.comparisons import NONE
from reward.scoring.devices import best_device, device_name, keep_freed_memory, precision
from reward.scoring.scorer import Scorer
from reward.scoring.state_writer import Writer, kept_tokens
from reward.scoring.states import SETTINGS, Store
from reward.sources.backbones import Lora
from reward.tokens.records import Token
from reward.training.losses import bradley_terry
from reward.training.network import lora_config
from reward.training.objective import Objective
from reward.training.steps import Steps
from reward.training.trainer import PairTrainer
from stages.states import StatesParams
from stages.train import TrainParams

PAD = "<pad>"


@contextmanager
def variant(name: str, options: argparse.Namespace, batch: int) -> Iterator[Any]:
    """(a), (b) or (c), ready to train and with a first round behind it.

    Yields a function that calls a method of its Bench. Each variant has a process of its own, so
    that neither memory nor the allocator's state of one is another's.
    """
    spawn = get_context("spawn")  # CUDA does not survive a fork
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(1, spawn, set_up, (name, options, batch, scratch)) as process,
    ):
        yield lambda method: process.submit(call, method).result()


bench: "Bench"  # of this process


def set_up(*arguments: Any) -> None:
    global bench
    transformers_logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)  # TRL's own defaults are deprecated
    bench = Bench(*arguments)


def call(method: Any) -> Any:
    return method(bench)


class Bench:
    """One variant over the pairs of a round; `batch` is the pairs that TRL computes at once."""

    def __init__(self, name: str, options: argparse.Namespace, batch: int, scratch: str):
        self.options, self.batch, self.scratch = options, batch, Path(scratch)
        self.compared = choose_pairs(options)
        self.groups = self.compared.groups
        self.device = best_device() if options.device == "auto" else torch.device(options.device)
        self.numbers = precision(self.device)
        self.frozen = options.trained_layers < options.layers
        sizes = self.compared.sizes.tolist()
        self.steps = Steps(sizes, options.batch_pairs, options.epochs, options.seed)
        default = load_params(TrainParams).train.micro_batch_tokens.on(self.device.type)
        self.budget = options.micro_batch_tokens or default
        # Beyond every token: padding is never taken for text, nor text for padding.
        largest = max(int(np.max(answer)) for group in self.groups for answer in group.sequences)
        self.padding = max(WORDS - 1, largest + 1)
        self.network = self._network()
        if self.frozen:
            Border(self.network, options.trained_layers).freeze()
        self.memory_before = self._memory()
        if self.frozen and name == "c":
            self.write_states()
        make = {"a": self._trl_defaults, "b": self._trl, "c": self._project, "d": self._flash}
        self.trainer = make[name]()
        self.clock = Clock(self.device)
        self.gradient = self.scratch / "gradient"
        self.trainer.add_callback(self.clock)
        self.trainer.add_callback(KeepGradient(self.gradient))
        self.trainer.remove_callback(PrinterCallback)
        self.trainer.train()

    def timed_round(self) -> float:
        """Seconds of one run's steps, from the first pair fetched to the last weight changed."""
        self.trainer.train()
        return self.clock.stop - self.clock.start

    def write_states(self) -> float:
        """Seconds that the states take which come once before all runs of (c) where lower layers
        stay as they are: making what computes them is left out, as making a trainer is.
        """
        keep_freed_memory()  # as the stage does
        folder = self.scratch / "states"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        scorer = Scorer(self._network().eval())
        scorer.share_prefixes(self.groups)
        border = Border(scorer.network, self.options.trained_layers)
        kept = kept_tokens(scorer, border, self.groups)
        budget = load_params(StatesParams).states.micro_batch_tokens.on(self.device.type)
        writer = Writer(scorer, border, kept, folder, budget=budget)
        start = time.perf_counter()
        writer.write("train", self.compared)
        synchronise(self.device)
        seconds = time.perf_counter() - start
        write_json(folder / SETTINGS, writer.settings().model_dump())
        return seconds

    def product_rate(self) -> float:
        """Operations per second of the model's widest product, for a tenth of a round's work."""
        width = self.options.width
        dtype = self.numbers.autocast or torch.float32
        left = torch.randn(self._micro_batch(), width, device=self.device, dtype=dtype)
        right = torch.randn(width, 4 * width, device=self.device, dtype=dtype)
        out = left @ right
        work = 2 * left.numel() * 4 * width
        times = math.ceil(self._flops() / 10 / work) if not self.options.flash_pref else 10
        synchronise(self.device)
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right, out=out)
        synchronise(self.device)
        return times * work / (time.perf_counter() - start)

    def memory_raised(self) -> int:
        """MB by which the peak is higher than it was with the model alone."""
        return round((self._memory() - self.memory_before) / 1e6)

    def first_gradient(self) -> np.ndarray:
        """Of the first step's pairs at the initial weights, flat."""
        return np.fromfile(self.gradient, dtype=np.float32)

    def task(self) -> dict[str, Any]:
        """What there is to do in a round, and on what."""
        options, width = self.options, self.options.width
        return {
            "valid_tokens": sum(len(side) for pair in self._sides() for side in pair),
            "computed_tokens": sum(group.shared_tokens for group in self.groups),
            "flops": None if options.flash_pref else self._flops(),
            "product": f"({self._micro_batch()}x{width})@({width}x{4 * width})",
            "micro_batch_tokens": self.budget,
            "batch_pairs": options.batch_pairs,
            "steps": len(self.steps),
            "epochs": options.epochs,
            "trained_layers": options.trained_layers if self.frozen else options.layers,
            "model": f"{self.network.config.model_type} {options.layers}x{width}",
            "device": f"{device_name(self.device)}, {torch.get_num_threads()} threads",
        }

    def _network(self) -> PreTrainedModel:
        """The same initial weights every time."""
        torch.manual_seed(self.options.seed)
        config = (self._llama if self.options.flash_pref else self._gpt2)()
        config.num_labels = 1
        dtype = self.numbers.frozen if self.options.lora else self.numbers.trained
        network = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
        return network.to(self.device)

    def _gpt2(self) -> PreTrainedConfig:
        return GPT2Config(
            vocab_size=self.padding + 1,
            n_layer=self.options.layers,
            n_embd=self.options.width,
            n_head=max(1, self.options.width // 64),
            n_positions=max(1024, self.options.max_length),
            pad_token_id=self.padding,
        )

    def _llama(self) -> PreTrainedConfig:
        """flash-preference knows Llama, and not GPT-2; it needs FlashAttention."""
        return LlamaConfig(
            vocab_size=self.padding + 1,
            num_hidden_layers=self.options.layers,
            hidden_size=self.options.width,
            intermediate_size=4 * self.options.width,
            num_attention_heads=max(1, self.options.width // 64),
            pad_token_id=self.padding,
            attn_implementation="flash_attention_2",  # type: ignore[call-arg]
        )

    def _trl_defaults(self) -> RewardTrainer:
        return RewardTrainer(**self._given(), peft_config=self._lora())

    def _trl(self) -> RewardTrainer:
        given = self._given(activation_checkpointing=False)
        return RewardTrainer(**given, peft_config=self._lora())

    def _flash(self) -> RewardTrainer:
        """flash-preference in TRL's trainer. Its own FlashRewardTrainer, which does the same, takes
        the columns that TRL had before version 1.
        """
        # It needs CUDA, and is no dependency of this project.
        from flash_pref import shared_prefix

        class Flash(RewardTrainer):
            def training_step(self, model: Any, inputs: Any, items: Any = None) -> Any:
                both = {name: inputs[name] for name in ("input_ids", "attention_mask")}
                both = self._prepare_inputs(both)
                with shared_prefix(model, **both, interleaved=True):
                    return super().training_step(model, inputs, items)

        return Flash(**self._given(activation_checkpointing=False), peft_config=self._lora())

    def _project(self) -> PairTrainer:
        return PairTrainer(
            **self._given(activation_checkpointing=False),
            lora=self._lora(),
            store=Store.open(self.scratch / "states") if self.frozen else None,
            steps=self.steps,
            objective=Objective(
                self.compared,
                np.zeros(len(self.compared.pairs), dtype=np.float32),
                bradley_terry,
                centring_factor=0.0,
                weighting="pairs",
            ),
            budget=self.budget,
            validation=NONE,
            curve=self.scratch / "curve.csv",
        )

    def _lora(self) -> LoraConfig | None:
        entry = Lora(rank=16, alpha=32, targets="all-linear")
        return lora_config(entry, self.network) if self.options.lora else None

    def _given(self, **more: Any) -> dict[str, Any]:
        """What every trainer gets: TRL's defaults, except where machine or comparison ask."""
        chosen, rejected = zip(*self._sides(), strict=True)
        arguments = RewardConfig(
            output_dir=str(self.scratch),
            use_cpu=self.device.type == "cpu",
            bf16=self.numbers.autocast == torch.bfloat16,
            dataloader_pin_memory=self.device.type == "cuda",
            max_length=None,  # the pairs have been truncated
            max_steps=len(self.steps),
            per_device_train_batch_size=self.batch,
            gradient_accumulation_steps=self.options.batch_pairs // self.batch,
            train_sampling_strategy="sequential",
            max_grad_norm=1e9,  # the norm is taken, and gradients stay comparable
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **more,
        )
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(WordLevel({PAD: self.padding}, unk_token=PAD)),
            pad_token=PAD,
        )
        return {
            "model": self.network,
            "args": arguments,
            "train_dataset": Dataset.from_dict(
                {Token.CHOSEN_IDS: chosen, Token.REJECTED_IDS: rejected}
            ),
            "processing_class": tokenizer,
        }

    def _sides(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The chosen and the rejected side of each pair, in the order of the steps."""
        groups = [self.groups[i] for step in self.steps for i in step]
        answers = [answer for group in groups for answer in group.sequences]
        _, sides = self.compared.among([i for step in self.steps for i in step])
        return [(answers[chosen], answers[rejected]) for chosen, rejected in sides]

    def _flops(self) -> int:
        return training_flops(self.network, self.groups)

    def _micro_batch(self) -> int:
        """Tokens of an average micro-batch of (c)."""
        assert isinstance(self.trainer, PairTrainer)
        cuts = [self.trainer.gradient.micro_batches(batch) for batch in self.steps]
        return round(sum(group.shared_tokens for group in self.groups) / sum(map(len, cuts)))

    def _memory(self) -> int:
        """The most bytes there ever were, on CUDA those of tensors, else the process's."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        # Linux counts kilobytes, macOS bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Clock(TrainerCallback):
    """The time after and before what happens once a run."""

    def __init__(self, device: torch.device):
        self.device = device

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        synchronise(self.device)
        self.start = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        synchronise(self.device)
        self.stop = time.perf_counter()


class KeepGradient(TrainerCallback):
    """Writes the very first step's gradient to a file, weight by weight to spare memory."""

    def __init__(self, file: Path):
        self.file = file

    def on_pre_optimizer_step(self, *_: Any, **given: Any) -> None:
        if self.file.exists():
            return
        with self.file.open("wb") as file:
            for weight in given["model"].parameters():
                if weight.requires_grad:
                    weight.grad.float().cpu().numpy().tofile(file)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
