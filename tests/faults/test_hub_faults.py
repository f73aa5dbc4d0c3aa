"""A hub that refuses, waits, breaks off or sends elsewhere: one sentence, and no token lost."""

import itertools
import time

import pytest

from tests.support.loopback_hub import Hub, Repository, serve
from tests.support.workplace import DATASET, Workplace, json_lines

SHARD = "data/average_rating-00001-of-00002.parquet"


def asked(hub: Hub, path: str) -> int:
    """How many requests were for a path."""
    return sum(request.endswith(path) for request in hub.requests)


def test_a_hub_that_asks_to_wait_is_asked_again_after_that_time(place: Workplace, hub: Hub) -> None:
    hub.refusals = iter([(429, {"Retry-After": "2"}), (503, {"Retry-After": "1"})])
    started = time.monotonic()
    assert "the hub answers 429; asked again in 2 s" in place.succeed()
    assert time.monotonic() - started > 3
    assert next(hub.refusals, None) is None


def test_a_hub_that_asks_to_wait_for_an_hour_ends_the_run(place: Workplace, hub: Hub) -> None:
    hub.refusals = itertools.repeat((429, {"Retry-After": "3600"}))
    assert "it is busy and asks to come back in 3600 seconds" in place.fail()


def test_a_file_that_is_refused_for_a_while_comes_afterwards(place: Workplace, hub: Hub) -> None:
    """The list is known, so that it is the file that is refused."""
    place.dataset["revision"] = hub.repositories[f"datasets/{DATASET}"].commit
    place.backbone = {"source": "./model", "learning_rate": 1e-3}
    place.succeed()
    for link in (place.folder / "cache/hub").rglob("average_rating-*"):
        link.resolve().unlink()
        link.unlink()
    hub.requests.clear()
    hub.refusals = iter([(429, {"Retry-After": "1"}), (429, {"Retry-After": "1"})])
    place.succeed()
    assert next(hub.refusals, None) is None
    assert asked(hub, f"/api/datasets/{DATASET}") == 0
    assert asked(hub, SHARD) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_only_refuses_ends_the_run(place: Workplace, hub: Hub, status: int) -> None:
    hub.refusals = itertools.repeat((status, {}))
    sentence = place.fail()
    assert "did not deliver the dataset someone/pairs (" in sentence
    assert str(status) in sentence
    assert asked(hub, f"/api/datasets/{DATASET}") == 6


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "", "(status 401): log in as somebody who may"),
        (401, "RepoNotFound", "neither a path on this machine nor a dataset repository"),
        (403, "GatedRepo", "is gated: accept its conditions there and log in"),
        (403, "", "does not let you have the dataset someone/pairs (status 403): log in"),
        (404, "RevisionNotFound", "has no revision None: name a branch"),
        (404, "", "did not deliver the dataset someone/pairs (Client error '404 Not Found'"),
    ],
)
def test_an_answer_that_is_final_is_not_asked_for_again(
    place: Workplace, hub: Hub, status: int, code: str, sentence: str
) -> None:
    hub.refusals = itertools.repeat((status, {"X-Error-Code": code} if code else {}))
    assert sentence in place.fail()
    assert asked(hub, f"/api/datasets/{DATASET}") == 1


def test_a_hub_that_takes_a_request_and_never_answers(place: Workplace, hub: Hub) -> None:
    hub.hangs = True  # to the end of the test, which is later than the limit of `fail`
    place.be_impatient()
    assert "did not deliver the dataset someone/pairs" in place.fail()
    assert hub.requests


def test_a_file_that_is_listed_and_not_there(place: Workplace, hub: Hub) -> None:
    repository = hub.repositories[f"datasets/{DATASET}"]
    files, commit = dict(repository.files), repository.commit

    class Lost(dict[str, bytes]):
        """Files of which one is listed and not to be had."""

        def __contains__(self, name: object) -> bool:
            return name != SHARD and super().__contains__(name)

    repository.files = Lost(files)
    assert repository.commit == commit
    assert "did not deliver the dataset someone/pairs (Client error '404" in place.fail()


@pytest.mark.slow
def test_a_file_that_breaks_off(place: Workplace, hub: Hub) -> None:
    repository = hub.repositories[f"datasets/{DATASET}"]
    repository.cut = SHARD
    repository.resumes = False
    assert "did not deliver the dataset someone/pairs" in place.fail()
    assert not list((place.folder / "cache/hub").rglob("*.incomplete"))
    repository.cut = None
    place.succeed()


@pytest.mark.parametrize("page", [b"<html>Log in</html>", b"{}", b"[]", b"null", b"\xff"])
def test_a_page_in_place_of_an_answer(place: Workplace, hub: Hub, page: bytes) -> None:
    """What the login page of a public network answers to everything."""
    hub.refusals = itertools.repeat((200, {"Content-Type": "text/html"}))
    hub.refusal = page
    assert "(its answer is not that of a hub)" in place.fail()


@pytest.mark.parametrize("name", ["../../pairs.jsonl", "/srv/pairs.jsonl", "..\\pairs.jsonl"])
def test_a_list_that_leads_out_of_the_cache(place: Workplace, hub: Hub, name: str) -> None:
    hub.repositories[f"datasets/{DATASET}"] = Repository({name: json_lines([])})
    assert "it lists a file outside of the repository" in place.fail()
    assert not list((place.folder / "cache").rglob("listings"))


def test_another_host_never_sees_the_token(place: Workplace, hub: Hub) -> None:
    """Large files lie elsewhere: the hub redirects there, and the token is for the hub alone."""
    place.environment |= {"HF_TOKEN": "hf_secret"}
    with serve(hub.repositories) as store:
        # Another name of this machine, and so another host to the client.
        hub.repositories = {
            name: Repository(
                repository.files, elsewhere=store.url.replace("127.0.0.1", "localhost")
            )
            for name, repository in hub.repositories.items()
        }
        place.succeed()
    assert store.fetched() >= {SHARD, "model.safetensors", "config.json"}
    assert store.authorisations == [None] * len(store.requests)
    assert "Bearer hf_secret" in hub.authorisations
