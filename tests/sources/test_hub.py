"""reward.sources.hub: a hub on this machine that does not deliver."""

from collections.abc import Iterator

import pytest

from tests.support.loopback_hub import Hub, Repository
from tests.support.workplace import DATASET, Workplace


@pytest.fixture
def hub(place: Workplace) -> Iterator[Hub]:
    with place.hub() as running:
        yield running


@pytest.mark.slow
def test_a_hub_that_stops_half_way_ends_the_run(place: Workplace, hub: Hub) -> None:
    place.dataset = {"source": DATASET, "split": "other"}
    repository = hub.repositories[f"datasets/{DATASET}"]
    repository.stall = "data/other-00000-of-00001.parquet"
    place.be_impatient()
    assert "did not deliver the dataset someone/pairs" in place.fail()


@pytest.mark.slow
def test_a_hub_that_starts_a_large_file_again_and_again_ends_the_run(
    place: Workplace, hub: Hub
) -> None:
    name = "data/other-00000-of-00001.parquet"
    files = {name: bytes(30_000_000)}  # more than one of the client's chunks of 10 MiB in a half
    hub.repositories[f"datasets/{DATASET}"] = Repository(files, stall=name, resumes=False)
    place.dataset = {"source": DATASET, "split": "other"}
    place.be_impatient()
    assert "broke off in the middle of a file and cannot resume" in place.fail()


def test_an_unreachable_hub(place: Workplace) -> None:
    place.dataset = {"source": DATASET}
    assert "The hub at http://127.0.0.1:9 did not deliver the dataset" in place.fail()
