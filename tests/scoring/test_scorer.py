"""reward/scoring/scorer.py: a score does not depend on batch, padding, order or processes."""

import re
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm
from transformers import FNetConfig, LlamaForSequenceClassification, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP

from reward.harness.errors import InputError
from reward.scoring import attention
from reward.scoring.groups import Group
from reward.scoring.layout import Layout
from reward.scoring.scorer import Scorer
from tests.support.networks import (
    BASE,
    ENCODERS,
    PAD,
    PADDED,
    SHARED,
    random_groups,
    random_network,
)

GROUPS = random_groups((2,) * 9 + (1, 4))
ALL = SHARED | PADDED


def scorer_of(name: str) -> Scorer:
    scorer = Scorer(random_network(ALL[name]))
    assert scorer.share_prefixes(GROUPS) is (name in SHARED)
    return scorer


@pytest.mark.parametrize("name", ["gpt2", "mistral with a window", "bert", "gpt-neo"])
def test_scores_are_those_of_transformers_one_by_one(name: str) -> None:
    network = random_network(ALL[name])
    with torch.no_grad():
        expected = [
            [network(torch.from_numpy(one)[None]).logits.item() for one in group.sequences]
            for group in GROUPS
        ]
    for found, alone in zip(scorer_of(name).score(GROUPS, 200, None), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_scores_do_not_depend_on_batch_or_order(name: str) -> None:
    scorer = scorer_of(name)
    reference = scorer.score(GROUPS, 10**6, None)

    @settings(max_examples=15)
    @given(st.permutations(range(len(GROUPS))), st.integers(1, 400))
    def check(order: list[int], budget: int) -> None:
        scores = scorer.score([GROUPS[i] for i in order], budget, None)
        for place, i in enumerate(order):
            np.testing.assert_allclose(scores[place], reference[i], rtol=1e-5, atol=2e-6)

    check()


def test_a_pass_that_fails_holds_no_graph_of_the_one_before() -> None:
    """Out of memory, the next try needs what the last one took."""
    scorer = scorer_of("gpt2")
    scorer(scorer.network, GROUPS[:2])
    assert scorer.head.rewards.grad_fn is not None

    def broken(**_: Any) -> None:
        assert scorer.head.rewards.grad_fn is None
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        scorer(broken, GROUPS[:2])


@pytest.mark.parametrize("name", [*SHARED, "bert"])
@pytest.mark.parametrize("pad_token_id", [PAD, 2])
def test_a_group_over_the_budget_is_cut_and_its_prefix_computed_once(
    name: str, pad_token_id: int
) -> None:
    network = random_network(ALL[name])
    network.config.pad_token_id = pad_token_id
    groups = random_groups((9, 2, 1, 12))
    if pad_token_id == 2:  # pad == eos: the answer that is eos alone is scored in its prompt
        short = np.append(groups[0].sequences[0][: groups[0].prefix], [2, 2])
        groups[0] = Group.of([*groups[0].sequences, short])
    scorer = Scorer(network)
    shared = scorer.share_prefixes(groups)
    assert shared is (name != "bert")
    whole = scorer.score(groups, 10**6, None)
    computed: list[int] = []
    network.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: computed.append(inputs[0].numel())
    )
    with tqdm(total=len(groups), disable=False, file=StringIO()) as bar:
        cut = scorer.score(groups, 90, bar)
        assert bar.n == len(groups)
    assert max(computed) <= 90
    if shared and pad_token_id == PAD:
        assert sum(computed) == sum(group.shared_tokens for group in groups)
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def fits(network: PreTrainedModel, tokens: int) -> None:
    """Let a network run out of memory where it is to compute more tokens at once."""

    def allocate(_: Any, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 bytes.")

    network.get_input_embeddings().register_forward_pre_hook(allocate)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_out_of_memory_less_is_computed_at_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    reference = scorer_of(name).score(GROUPS, 10**6, None)
    caplog.clear()
    scorer = Scorer(random_network(ALL[name]))
    fits(scorer.network, 90)
    assert scorer.share_prefixes(GROUPS) is (name in SHARED)
    with tqdm(total=len(GROUPS), disable=False, file=StringIO()) as bar:
        scores = scorer.score(GROUPS, 10**6, bar)
        assert bar.n == len(GROUPS)
    for one, other in zip(scores, reference, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)
    limits = [int(tokens) for tokens in re.findall("at most ([0-9]+) tokens", caplog.text)]
    assert len(limits) > (name in SHARED)  # padding is tried first, which learns most of it
    assert limits == sorted(limits, reverse=True)
    caplog.clear()
    scorer.score(GROUPS, 10**6, None)
    assert not caplog.messages  # it has learnt


def test_an_answer_that_does_not_fit_into_memory_is_named() -> None:
    scorer = scorer_of("gpt2")
    alone = [Group((sequence,), 0) for group in GROUPS for sequence in group.sequences]
    longest = max(group.shared_tokens for group in alone)
    fits(scorer.network, longest - 1)
    with pytest.raises(InputError, match=f"an answer of {longest} tokens with its prompt"):
        scorer.score(alone, 10**6, None)


def test_a_pair_too_long_for_memory_is_named_before_the_work() -> None:
    network = random_network(SHARED["gpt2"])
    fits(network, 40)
    with pytest.raises(InputError, match="tokens with its prompt does not fit into memory"):
        Scorer(network).share_prefixes(GROUPS)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neo"])
def test_no_padding_token_is_needed(name: str) -> None:
    expected = scorer_of(name).score(GROUPS, 10**6, None)
    config = deepcopy(ALL[name])
    config.pad_token_id = None
    scorer = Scorer(random_network(config))
    assert scorer.share_prefixes(GROUPS) is (name in SHARED)
    for one, other in zip(scorer.score(GROUPS, 10**6, None), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_another_failure_is_not_taken_for_lack_of_memory() -> None:
    scorer = scorer_of("gpt2")

    def broken(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    scorer.network.get_input_embeddings().register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        scorer.score(GROUPS, 10**6, None)


def test_swapping_the_sides_swaps_the_scores() -> None:
    scorer = scorer_of("gpt2")
    pairs = [group for group in GROUPS if len(group.sequences) == 2]
    swapped = [Group.of(group.sequences[::-1]) for group in pairs]
    for one, other in zip(
        scorer.score(pairs, 300, None), scorer.score(swapped, 300, None), strict=True
    ):
        np.testing.assert_allclose(one, other[::-1], rtol=1e-5, atol=2e-6)


def test_a_misspelt_attribute_of_ours_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be taken for a network of another form, whose rows are padded for good."""
    scorer = Scorer(random_network(SHARED["llama"]))
    monkeypatch.delattr(Layout, "with_known")
    with pytest.raises(AttributeError, match="with_known"):
        scorer.share_prefixes(GROUPS)


def test_a_wrong_call_of_ours_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(random_network(SHARED["llama"]))
    monkeypatch.setattr(attention, "_causal", lambda: None)
    with pytest.raises(TypeError, match="positional arguments"):
        scorer.share_prefixes(GROUPS)


def test_a_network_that_takes_no_positions_keeps_padded_rows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Placed(LlamaForSequenceClassification):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return super().forward(input_ids, attention_mask)

    network = random_network(SHARED["llama"])
    network.__class__ = Placed
    expected = Scorer(random_network(SHARED["llama"])).score(GROUPS, 300, None)
    scorer = Scorer(network)
    assert scorer.share_prefixes(GROUPS) is False
    assert "no shared prefixes, its forward pass is of another form" in caplog.text
    np.testing.assert_equal(scorer.score(GROUPS, 300, None), expected)


@pytest.mark.parametrize("what", ["takes", "gives"])
def test_a_feed_forward_part_of_another_form_keeps_padded_rows(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As in gpt-oss, whose part gives the routing of the experts as well."""

    class Routed(LlamaMLP):
        def forward(self, x: torch.Tensor, *_: Any) -> Any:
            output = super().forward(x)
            return output if what == "takes" else (output, None)

    class Layer(LlamaDecoderLayer):
        def forward(self, hidden_states: torch.Tensor, **more: Any) -> torch.Tensor:  # type: ignore[override]
            attended, _ = self.self_attn(self.input_layernorm(hidden_states), **more)
            hidden_states = hidden_states + attended
            normed = self.post_attention_layernorm(hidden_states)
            if what == "takes":
                return hidden_states + self.mlp(normed, None)
            return hidden_states + self.mlp(normed)[0]

    network = random_network(SHARED["llama"])
    expected = Scorer(random_network(SHARED["llama"])).score(GROUPS, 300, None)
    last = network.model.layers[-1]
    last.mlp.__class__, last.__class__ = Routed, Layer
    Layer.__name__ = LlamaDecoderLayer.__name__  # by which a network's layers are found
    scorer = Scorer(network)
    assert scorer.share_prefixes(GROUPS) is False
    assert f"its feed-forward part {what} more than a tensor" in caplog.text
    np.testing.assert_equal(scorer.score(GROUPS, 300, None), expected)


def test_a_network_whose_rewards_would_change_keeps_padded_rows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A causal network that looks ahead all the same, as a prefix language model does."""
    scorer = Scorer(random_network(SHARED["llama"]))
    causal = attention._causal

    def ahead(*args: Any) -> torch.Tensor:
        return causal(*args) + 0.1 * args[3].repeat_interleave(2, 1).mean(2, keepdim=True)

    monkeypatch.setattr(attention, "_causal", ahead)
    expected = [scorer(scorer.network, [group]).tolist() for group in GROUPS]
    assert scorer.share_prefixes(GROUPS) is False
    assert "no shared prefixes, rewards would change by" in caplog.text
    assert [scorer(scorer.network, [group]).tolist() for group in GROUPS] == expected
    assert not scorer.network.model.layers[-1].mlp._forward_hooks  # nothing is left behind


def test_answers_are_computed_alone_where_padding_would_change_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """FNet mixes all tokens of a row, padding too, and takes no mask."""
    config = {key: value for key, value in BASE.items() if key != "num_attention_heads"}
    network = random_network(FNetConfig(**config))
    scorer = Scorer(network)
    own = [
        scorer(network, [Group((one,), 0)]).item() for group in GROUPS for one in group.sequences
    ]
    padded = scorer(network, GROUPS).tolist()
    assert max(abs(a - b) for a, b in zip(own, padded, strict=True)) > 0.01
    assert scorer.share_prefixes(GROUPS) is False
    assert "padding changes its rewards; each answer is computed alone" in caplog.text
    assert scorer(network, GROUPS).tolist() == own
    np.testing.assert_array_equal(
        np.concatenate(scorer.score(GROUPS, 300, None)), np.array(own, dtype=np.float32)
    )


def test_rows_stay_padded_where_padding_changes_nothing() -> None:
    scorer = Scorer(random_network(ENCODERS["deberta-v2"]))
    scorer.share_prefixes(GROUPS)
    assert not scorer.alone


def test_saved_config_keeps_the_networks_own_attention_and_activation(tmp_path: Path) -> None:
    scorer = scorer_of("gpt2")
    scorer.network.save_pretrained(tmp_path)
    saved = (tmp_path / "config.json").read_text(encoding="utf-8")
    assert "shared_prefix" not in saved
    assert '"activation_function": "gelu_new"' in saved
