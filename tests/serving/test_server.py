"""python -m reward.serve as a process, under load."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reward.scoring.groups import Group
from reward.serving.batch import BatchScorer
from reward.serving.model import RewardModel
from reward.serving.questions import read_question
from tests.support.models import make_model
from tests.support.servers import SECONDS, Server, at_once, serving

# float32 sums differ with what is computed beside them, in reward.score too, by up to 1.3e-6 here.
ROUNDING = 4e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    # A busy machine may take its time for a thousand requests.
    with serving(folder, "--most-seconds", "300", "--merge-milliseconds", "50") as running:
        yield running


def rows(count: int) -> list[dict[str, Any]]:
    """Each with a prompt of its own; most are cut to max_length, and every tenth has none."""
    return [
        {"prompt": f"{n}: name it. " * (n % 9) if n % 10 else " ", "response": f"It is {n}."}
        for n in range(1, count + 1)
    ]


def expected(folder: Path, asked: list[dict[str, Any]]) -> list[float | None]:
    columns = {name: [row[name] for row in asked] for name in ("prompt", "response")}
    return BatchScorer(folder)(columns)["score"]


def test_a_thousand_requests_at_once_get_their_own_answers(folder: Path, server: Server) -> None:
    asked = rows(1000)
    answers = asyncio.run(at_once(server, "/score", asked))
    rewards = expected(folder, asked)
    assert sum(reward is None for reward in rewards) > 100
    for answer, reward in zip(answers, rewards, strict=True):
        if reward is None:
            assert answer.status_code == 422
            assert "empty_prompt" in answer.json()["detail"]
        else:
            assert answer.json() == {"score": pytest.approx(reward, abs=ROUNDING)}
    scored = sum(reward is not None for reward in rewards)
    assert server.metric("reward_responses_total") == scored
    assert server.metric("reward_pass_requests_sum") == scored
    assert server.metric("reward_pass_requests_count") < scored / 2
    assert server.metric("reward_waiting_requests") == 0


def test_a_list_of_rows_has_a_reason_for_each_that_has_no_reward(server: Server) -> None:
    asked = [
        {"prompt": "Hi", "responses": ["Hello", "No"]},
        {"prompt": "Hi"},
        7,
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No<|end|>"},
    ]
    many, missing, number, pair = server.post("/score", asked).json()
    assert missing == {"reason": "missing_response"}
    assert number == {"reason": "not_a_JSON_object"}
    assert pair["chosen_score"] == pytest.approx(many["scores"][0], abs=ROUNDING)
    assert pair["reason"] == "control_tokens"


def test_the_rewards_of_openrlhf_are_those_of_its_texts(folder: Path, server: Server) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    prompts, queries, plainly = [], [], []
    for n in range(4):
        turns = [{"role": "user", "content": f"Name the number {n}."}]
        answer = {"role": "assistant", "content": f"It is {n}."}
        prompts.append(
            tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        )
        queries.append(tokenizer.apply_chat_template([*turns, answer], tokenize=False))
        ids = tokenizer(queries[-1], add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            plainly.append(network(**ids).logits.item())
    body = {"query": queries, "prompts": prompts, "labels": ["", None, 3, "x"]}
    answer = server.post("/get_reward", body).json()
    assert answer["rewards"] == pytest.approx(plainly, abs=ROUNDING)
    assert answer["scores"] == answer["rewards"]
    assert answer["extra_logs"] == {}
    assert server.post("/get_reward", {"query": queries}).json()["rewards"] == answer["rewards"]


def test_a_long_query_is_cut_as_its_row_is(folder: Path, server: Server) -> None:
    row = {"prompt": "Name all that you know. " * 20, "response": "It is this. " * 5}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": row["prompt"]}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    turns.append({"role": "assistant", "content": row["response"]})
    query = tokenizer.apply_chat_template(turns, tokenize=False)
    (reward,) = server.post("/get_reward", {"query": [query], "prompts": [prompt]}).json()[
        "rewards"
    ]
    assert server.post("/score", row).json() == {"score": pytest.approx(reward, abs=ROUNDING)}


@pytest.mark.slow
def test_merged_full_and_ended(folder: Path) -> None:
    """Requests wait here for ten seconds, so that what they meet is no matter of luck."""
    options = ("--merge-milliseconds", "10000", "--most-requests", "60")
    with serving(folder, *options) as server:
        check_common_beginnings(folder, server)
        asyncio.run(check_the_end(folder, server))


def check_common_beginnings(folder: Path, server: Server) -> None:
    """Eight requests with one prompt: one pass, in which the prompt is computed once."""
    asked = [{"prompt": "Name a number.", "response": f"It is {n}."} for n in range(8)]
    answers = asyncio.run(at_once(server, "/score", asked))
    assert [one.json()["score"] for one in answers] == pytest.approx(
        expected(folder, asked), abs=ROUNDING
    )
    assert server.metric("reward_pass_requests_sum") == 8
    assert server.metric("reward_pass_requests_count") == 1
    groups = RewardModel.open(folder).groups([read_question(row) for row in asked])
    sequences = [g.sequences[0] for g in groups if isinstance(g, Group)]
    together = Group.of(sequences)
    assert together.prefix > 8
    assert server.metric('reward_tokens_total{what="asked"}') == sum(map(len, sequences))
    assert server.metric('reward_tokens_total{what="computed"}') == together.shared_tokens


async def check_the_end(folder: Path, server: Server) -> None:
    """As many requests as may wait, one more, and SIGTERM: all that were taken are answered."""
    asked = [row for row in rows(75) if row["prompt"].strip()]
    assert len(asked) == 60
    loading = asyncio.create_task(at_once(server, "/score", asked))
    deadline = time.monotonic() + SECONDS
    while await asyncio.to_thread(server.metric, "reward_waiting_requests") < 60:
        assert time.monotonic() < deadline
        assert not loading.done()
    refused = await asyncio.to_thread(server.post, "/score", asked[0])
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    status, said = await asyncio.to_thread(server.end)
    assert (status, said) == (0, "")
    scores = [one.json()["score"] for one in await loading]
    assert scores == pytest.approx(expected(folder, asked), abs=ROUNDING)
    with pytest.raises(httpx2.ConnectError):
        server.get("/health")
