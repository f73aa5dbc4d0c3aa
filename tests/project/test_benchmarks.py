"""benchmarks/: what is measured on, and what is printed; how long it takes is never asserted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.data import WORDS_PER_TOKEN, Run, linearity, synthetic_texts
from benchmarks.pairs import PROFILES, draw_pairs
from benchmarks.work import training_flops
from reward.scoring.groups import Group
from reward.scoring.scorer import Scorer
from reward.sources.backbones import Lora
from reward.training.network import lora_config
from tests.support.networks import SHARED, random_network

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("profile", PROFILES)
def test_lengths_have_their_mean_and_median(profile: str) -> None:
    random = np.random.default_rng(0)
    for lengths in {PROFILES[profile].prompt, *PROFILES[profile].answers}:
        drawn = lengths.draw(random, 400_000)
        assert drawn.min() >= 1
        assert drawn.mean() == pytest.approx(lengths.mean, rel=0.02)
        assert np.median(drawn) == pytest.approx(lengths.median, abs=1)


def test_dialogue_leaves_two_thirds_of_the_tokens_to_compute() -> None:
    # (123 + 41 + 51) / (2 x 123 + 41 + 51) = 0.636
    pairs = draw_pairs(PROFILES["dialogue"], np.random.default_rng(0), 5000, max_length=100_000)
    valid = sum(len(side) for pair in pairs for side in pair.sequences)
    assert sum(pair.shared_tokens for pair in pairs) / valid == pytest.approx(0.636, abs=0.01)


def test_pairs_are_the_same_for_a_seed_and_fit_max_length() -> None:
    one, two = (
        draw_pairs(PROFILES["helpsteer"], np.random.default_rng(4), 50, max_length=64)
        for _ in range(2)
    )
    for pair, same in zip(one, two, strict=True):
        assert max(map(len, pair.sequences)) <= 64
        for side, other in zip(pair.sequences, same.sequences, strict=True):
            np.testing.assert_array_equal(side, other)


def test_flops_by_hand() -> None:
    network = random_network(SHARED["gpt2"])  # two layers of width 32
    pair = Group((np.array([1, 2, 3, 4]), np.array([1, 2, 5])), prefix=2)
    attending, feeding_forward = 32 * 96 + 32 * 32, 32 * 128 + 128 * 32  # weights of a layer
    # Both for each of the five tokens, but in the last layer the second for the two scored alone.
    linear = 2 * 5 * attending + (5 + 2) * feeding_forward
    # Tokens 1 2 | 3 4 | 5 see 1 2 | 3 4 | 3 tokens, themselves included: 13.
    attention = 3 * 4 * 32 * 2 * 13
    assert training_flops(network, [pair]) == 6 * linear + attention


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft asks
@pytest.mark.parametrize("lora", [False, True])
def test_flops_of_linear_layers_are_those_that_torch_counts(lora: bool) -> None:
    network = random_network(SHARED["gpt2"])
    if lora:
        get_peft_model(network, lora_config(Lora(rank=4, alpha=8, targets="all-linear"), network))
    tokens = np.arange(3, 40)
    alone = Group((tokens,), prefix=0)
    scorer = Scorer(network)
    assert scorer.share_prefixes([alone])
    with FlopCounterMode(display=False) as counter:
        scorer(network, [alone]).sum().backward()
    counted = counter.get_flop_counts()["Global"]
    products = sum(counted[op] for op in (torch.ops.aten.mm, torch.ops.aten.addmm) if op in counted)
    # Of the head, a product with one column, torch counts two or three passes, and we none.
    attention = 3 * 4 * 32 * 2 * 37 * 38 // 2
    head = 2 * 32 * 37
    assert training_flops(network, [alone]) - attention == pytest.approx(products, abs=3 * head)


def test_synthetic_texts_have_the_lengths_of_the_profile() -> None:
    texts = [pair for batch in synthetic_texts(4000, seed=0) for pair in batch]
    assert len(texts) == len(set(texts)) == 4000
    words = np.array([[len(text.split()) for text in pair] for pair in texts])
    helpsteer = PROFILES["helpsteer"]
    means = [lengths.mean * WORDS_PER_TOKEN for lengths in (helpsteer.prompt, *helpsteer.answers)]
    np.testing.assert_allclose(words.mean(axis=0), means, rtol=0.1)


def test_linearity_leaves_out_what_a_process_costs_before_its_first_pair() -> None:
    def runs(*seconds: float) -> dict[int, dict[str, Run]]:
        sizes = (10, 100, 1000)
        return {n: {"split": Run(s, 0, 0)} for n, s in zip(sizes, seconds, strict=False)}

    assert linearity(runs(2 + 0.1, 2 + 1, 2 + 10), "split") == pytest.approx(1)
    assert linearity(runs(2 + 0.1, 2 + 1, 2 + 19), "split") == pytest.approx(2)
    assert linearity(runs(2 + 0.1, 2 + 1), "split") is None


def last_line(*command: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


SMALL = ["--layers=1", "--width=64", "--max-length=32", "--rounds=1", "--steps=1", "--device=cpu"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["--batch-pairs=2"],
        ["--batch-pairs=1", "--lora"],
        ["--batch-pairs=6", "--profile=ranked4"],
        ["--batch-pairs=1", "--layers=2", "--trained-layers=1", "--epochs=2", "--without-defaults"],
    ],
)
def test_train_compares_three_ways(more: list[str]) -> None:
    result = last_line("benchmarks.train", *SMALL, *more)
    assert result["gradient_difference"] < 1e-5
    assert result["best_b_batch"] in (1, 2)
    assert result["lora"] == ("--lora" in more)
    assert result["valid_tokens"] >= result["computed_tokens"]
    assert ("first_over_b" in result) == ("--trained-layers=1" in more)
    for name in ("tokens_per_second", "seconds_per_step", "memory_mb"):
        assert set(result[name]) == (
            {"b", "c"} if "--without-defaults" in more else {"a", "b", "c"}
        )
    assert {
        "c_over_b", "utilisation", "memory_c_over_b", "profile", "max_length",
        "device", "versions", "product", "product_tflops", "model", "flops",
        "micro_batch_tokens", "batch_pairs", "steps",
    } <= set(result)  # fmt: skip


@pytest.mark.slow
def test_data_compares_tokenizers() -> None:
    result = last_line("benchmarks.data", "tokenize", "--size", "200", "--rounds", "1")
    assert {"ours_over_trl", "ours_over_bare"} <= set(result)
    assert set(result["pairs_per_second"]) == {"ours", "trl", "bare"}


@pytest.mark.slow
def test_data_measures_every_stage() -> None:
    result = last_line("benchmarks.data", "stages", "--sizes", "100", "200", "300")
    assert set(result["stages"]) == set(result["linearity"])
    assert set(result["stages"]) == {"download", "split", "tokenize", "stats"}
    for sizes in result["stages"].values():
        assert set(sizes) == {"100", "200", "300"}
        for figures in sizes.values():
            assert figures["peak_mb"] > 10
            assert set(figures) == {"seconds", "peak_mb", "written_mb"}
    assert result["largest_peak_mb"] >= result["stages"]["tokenize"]["300"]["peak_mb"]


@pytest.mark.slow
def test_serve_loses_no_request_and_gives_the_rewards_of_the_pipeline() -> None:
    sizes = ["--layers=1", "--width=64", "--prompt=100", "--prompts=2", "--burst=64", "--rounds=1"]
    result = last_line("benchmarks.serve", *sizes)
    assert result["burst"] == {"requests": 64, "answered": 64}
    assert result["largest_difference"] < 1e-5
    assert result["tokens"]["computed"] < result["tokens"]["asked"] / 1.5
    assert set(result["responses_per_second"]) == {"p", "o", "m", "c"}
    assert set(result["latency"]) == {"o", "m", "c"}
