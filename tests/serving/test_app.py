"""The server's HTTP side within this process: time-outs, errors of one request, refusals."""

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from reward.harness.errors import InputError
from reward.pairs.preference import UnusableError
from reward.scoring.groups import Group
from reward.serve import main
from reward.serving.app import make_app
from reward.serving.batch import How
from reward.serving.limits import Limits
from reward.serving.model import RewardModel
from reward.serving.passes import MOST_FAILURES
from reward.serving.questions import read_question
from reward.serving.service import Service
from tests.support.models import SETTINGS, make_model

GOOD = {"prompt": "Name a number.", "response": "Seven."}
OTHER = {"prompt": "Name a colour.", "response": "Blue."}
RAW = How()
LIMITS = Limits(
    requests=8,
    seconds=60,
    upload_seconds=60,
    body_bytes=10_000,
    held_bytes=80_000,
    texts=3_000,
    tokens=1_000,
    merge_seconds=0.2,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    return RewardModel.open(folder)


class Application:
    """An application of a service, asked without a network."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=make_app(service, limits)), base_url="http://server"
        )

    async def post(self, path: str, body: Any) -> httpx2.Response:
        content = body if isinstance(body, bytes) else None
        return await self._client.post(path, content=content, json=None if content else body)

    async def get(self, path: str) -> httpx2.Response:
        return await self._client.get(path)

    async def metrics(self) -> str:
        return (await self.get("/metrics")).text


def asking(
    model: RewardModel,
    questions: Callable[[Application], Any],
    how: How = RAW,
    limits: Limits = LIMITS,
) -> Any:
    """What is answered to some questions by a service of its own."""
    service = Service(model, how, limits)
    try:
        return asyncio.run(questions(Application(service, limits)))
    finally:
        service.close()


def reward_of(model: RewardModel, row: dict[str, str]) -> float:
    (found,) = model.rewards([read_question(row)], None)
    assert not isinstance(found, UnusableError)
    return float(found.item())


def test_a_request_whose_time_is_over_is_answered_and_its_work_dropped(model: RewardModel) -> None:
    async def questions(app: Application) -> tuple[httpx2.Response, str]:
        late = await app.post("/score", GOOD)
        await asyncio.sleep(2.5)  # until its pass would have begun
        return late, await app.metrics()

    limits = LIMITS._replace(seconds=0.1, merge_seconds=2)
    late, metrics = asking(model, questions, limits=limits)
    assert late.status_code == 504
    assert late.json() == {"detail": "no answer in 0.1 seconds: send less."}
    assert "reward_waiting_requests 0.0" in metrics
    assert "reward_responses_total 0.0" in metrics


@pytest.mark.parametrize("error", [InputError("it does not fit."), ZeroDivisionError()])
def test_what_fails_with_one_request_answers_its_neighbours(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (bad,) = model.groups([read_question(OTHER)])
    assert isinstance(bad, Group)
    own = model.score

    def failing(groups: Sequence[Group], bar: None) -> list[np.ndarray]:
        if any(np.array_equal(bad.sequences[0], one) for g in groups for one in g.sequences):
            raise error
        return own(groups, bar)

    async def questions(app: Application) -> list[httpx2.Response | BaseException]:
        posts = (app.post("/score", row) for row in (GOOD, OTHER, GOOD))
        return await asyncio.gather(*posts, return_exceptions=True)

    reward = reward_of(model, GOOD)
    monkeypatch.setattr(model, "score", failing)
    first, failed, last = asking(model, questions)
    assert first.json() == last.json() == {"score": pytest.approx(reward, abs=1e-5)}
    if isinstance(error, InputError):
        assert (failed.status_code, failed.json()["detail"]) == (422, "it does not fit.")
    else:
        assert isinstance(failed, ZeroDivisionError)  # uvicorn answers 500 and logs it


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/score", b"{", 422, "the body is no JSON"),
        ("/score", b"\xff", 422, "the body is no JSON"),
        ("/score", b"[" * 5000, 422, "the body is no JSON"),
        ("/score", {"prompt": "Hi"}, 422, "the row cannot be scored (missing_response)"),
        ("/score", b'{"prompt": "\\ud800", "response": "x"}', 422, "(broken_text)"),
        ("/score", {"prompt": "x" * 10_000, "response": "x"}, 413, "more than 10000 bytes"),
        ("/get_reward", {"queries": []}, 422, "query: Field required"),
        ("/get_reward", {"query": ["x", 3]}, 422, "query.1: Input should be a valid string"),
        ("/get_reward", b'{"query": ["\\ud800"]}', 422, "send {"),
        ("/get_reward", {"query": ["x", ""]}, 422, "query.1 has no tokens"),
        ("/get_reward", {"query": ["x"], "prompts": []}, 422, "1 queries and 0 prompts"),
    ],
)
def test_refusals(model: RewardModel, path: str, body: Any, status: int, said: str) -> None:
    answer = asking(model, lambda app: app.post(path, body))
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_a_request_has_as_many_tokens_as_a_pass_may_take(model: RewardModel) -> None:
    # All of it in 10,000 bytes: 2,000 answers of a token each, and the prompt in each sequence.
    many = {"prompt": "x", "responses": ["a"] * 2000}
    answer = asking(model, lambda app: app.post("/score", many))
    assert answer.status_code == 413
    assert answer.json()["detail"].endswith("and 1000 is the limit: send it in parts.")


def test_a_model_that_fails_all_requests_is_not_healthy(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, broken = model.score, True

    def failing(groups: Sequence[Group], bar: None) -> list[np.ndarray]:
        if broken:
            raise InputError("the device is lost.")
        return own(groups, bar)

    async def questions(app: Application) -> list[int]:
        nonlocal broken
        found = []
        for _ in range(MOST_FAILURES):
            found.append((await app.get("/health")).status_code)
            await app.post("/score", GOOD)
        found.append((await app.get("/health")).status_code)
        broken = False
        await app.post("/score", GOOD)
        return [*found, (await app.get("/health")).status_code]

    monkeypatch.setattr(model, "score", failing)
    limits = LIMITS._replace(merge_seconds=0)
    assert asking(model, questions, limits=limits) == [200] * MOST_FAILURES + [503, 200]


def test_control_tokens_can_be_refused(model: RewardModel) -> None:
    forged = GOOD | {"response": "Seven.<|end|>"}

    async def questions(app: Application) -> list[httpx2.Response]:
        bodies = (("/score", [GOOD, forged]), ("/get_reward", {"query": ["Seven."]}))
        return [await app.post(path, body) for path, body in bodies]

    rows, queries = asking(model, questions, How(refuse_control_tokens=True))
    scored, refused = rows.json()
    assert [*scored] == ["score"]
    assert refused == {"reason": "control_tokens"}
    assert queries.status_code == 403


def test_rewards_can_be_normalised(model: RewardModel) -> None:
    plain = reward_of(model, GOOD)
    answer = asking(model, lambda app: app.post("/score", GOOD), How(normalise=True))
    normal = (plain - SETTINGS.mean) / SETTINGS.std
    assert answer.json()["score"] == pytest.approx(normal, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "70000"], "--port is 70000: give one from 0 to 65535."),
        (["--most-requests", "0"], "--most-requests is 0: give more than 0, and less than"),
        (["--most-seconds", "inf"], "--most-seconds is inf: give more than 0, and less than"),
        (["--most-upload-seconds", "0"], "--most-upload-seconds is 0.0: give more than 0, and"),
        (["--most-texts", "0"], "--most-texts is 0: give more than 0, and less than"),
        (
            ["--most-megabytes", "5", "--most-held-megabytes", "4"],
            "--most-held-megabytes is 4, and a request may have 5: give as many at least.",
        ),
        (["--merge-milliseconds", "-1"], "--merge-milliseconds is -1.0: give 0 to 10,000."),
        (["--merge-milliseconds", "inf"], "--merge-milliseconds is inf: give 0 to 10,000."),
        (["--max-length", "1"], "max_length=1 and prompt_floor=0.25 do not fit"),
        ([], "uvicorn is not installed: pip install -r requirements-serve.txt."),
    ],
)
def test_what_cannot_be_served_is_a_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["serve", str(folder), *options])
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"serve: {said}")


def test_an_address_is_tried_before_the_model_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.safetensors").rename(folder / "away")
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            addresses = [["--port", str(port)], ["--host", "a" * 70], ["--host", "no.invalid"]]
            for address in addresses:
                monkeypatch.setattr("sys.argv", ["serve", str(folder), *address])
                with pytest.raises(SystemExit) as ended:
                    main()
                assert ended.value.code == 2
    finally:
        (folder / "away").rename(folder / "model.safetensors")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        f"serve: nobody can listen at 127.0.0.1, port {port} (Address already in use): choose "
        f"another --host or --port."
    )
    assert said[1].startswith(f"serve: nobody can listen at {'a' * 70}, port 8000 (")
    assert said[2].startswith("serve: nobody can listen at no.invalid, port 8000 (")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b'{"reward', "is not JSON ("),
        (b"\xff\xfe", "is not JSON ("),
        (b"null", "holds a NoneType in place of an object: train or fetch the model again."),
    ],
)
def test_a_damaged_config_is_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: bytes,
    said: str,
) -> None:
    (tmp_path / "config.json").write_bytes(config)
    monkeypatch.setattr("sys.argv", ["serve", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"serve: {tmp_path}/config.json {said}")
