"""The model opens without this project's code, and every tool that opens it gives our rewards."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)
from trl import RLOOConfig, RLOOTrainer

from reward.score import score
from tests.support.models import TINY, make_model

PROMPT = "Which fruit is yellow?"
ANSWERS = ["A banana.", "The stone that lies in the yard is grey.", "I will not tell you that."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def ours(model: Path) -> list[float]:
    (row,) = score(model, [{"prompt": PROMPT, "responses": ANSWERS}])
    return cast(dict[str, Any], row)["scores"]


def conversations() -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]
        for answer in ANSWERS
    ]


def test_tokenizer_is_named_as_transformers_4_knows_it(model: Path) -> None:
    """rewardbench pins transformers 4.51, which has no class TokenizersBackend."""
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    # Left out, it would add token_type_ids, and GPT-2 would give other rewards.
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]
    text = "A <|pad|> é\n\nUser: x"
    opened = AutoTokenizer.from_pretrained(model)
    assert opened(text).input_ids == AutoTokenizer.from_pretrained(TINY)(text).input_ids
    assert opened.chat_template


def test_rewards_differ(ours: list[float]) -> None:
    assert max(ours) - min(ours) > 0.01


def test_auto_model(model: Path, ours: list[float]) -> None:
    network = AutoModelForSequenceClassification.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    inputs: Any = tokenizer.apply_chat_template(
        conversations(), padding=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        theirs = network(**inputs).logits[:, 0].tolist()
    assert theirs == pytest.approx(ours, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pipeline(model: Path, ours: list[float], batch_size: int) -> None:
    judge: Any = pipeline("text-classification", model=str(model))
    texts = [judge.tokenizer.apply_chat_template(one, tokenize=False) for one in conversations()]
    results = judge(texts, add_special_tokens=False, batch_size=batch_size)
    assert [result["score"] for result in results] == pytest.approx(ours, abs=1e-5)


# TRL sets it so in the reward model that it has loaded.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_trl_takes_it_as_the_reward_of_a_policy(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of RLOO on a tiny policy; the rewards that it logs are ours of what it sampled."""
    torch.manual_seed(0)
    policy = tmp_path / "policy"
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(TINY)).save_pretrained(policy)
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    trainer = RLOOTrainer(
        model=str(policy),
        reward_funcs=str(model),
        args=RLOOConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=8,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": f"Name {n} fruits."}]} for n in range(8)]
        ),
        processing_class=tokenizer,
    )
    seen = []
    calculate = trainer._calculate_rewards

    def watched(inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
        rewards = calculate(inputs, prompts, completions, ids)
        rows = [
            {"prompt": prompt, "response": completion}
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        seen.append((rows, rewards[:, 0].tolist()))
        return rewards

    monkeypatch.setattr(trainer, "_calculate_rewards", watched)
    trainer.train()
    assert trainer.state.global_step == 2
    assert seen
    for rows, theirs in seen:
        scored = cast(list[dict[str, Any]], list(score(model, rows)))
        assert theirs == pytest.approx([row["score"] for row in scored], abs=1e-5)
