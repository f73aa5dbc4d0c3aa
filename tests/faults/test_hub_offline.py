"""What is in the hub's cache is used with no request: offline, and for a full commit."""

import shutil
import subprocess
import sys

import pytest

from tests.support.loopback_hub import Hub
from tests.support.workplace import DATASET, MODEL, ROWS, Workplace, json_lines, slow_files

OFFLINE = {"HF_HUB_OFFLINE": "1"}
CARD = b"""---
configs:
- config_name: default
  data_files: [{split: good, path: good/*}, {split: bad, path: bad/*}]
---
# Pairs
"""


def outputs(place: Workplace) -> dict[str, bytes]:
    """What download wrote, which is removed."""
    data = place.folder / "data"
    written = {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }
    shutil.rmtree(data)
    return written


def commits(place: Workplace, hub: Hub) -> None:
    """Name both repositories by their commits."""
    place.dataset["revision"] = hub.repositories[f"datasets/{DATASET}"].commit
    place.backbone["revision"] = hub.repositories[f"models/{MODEL}"].commit


def python(place: Workplace, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
    )
    return done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]


WEIGHTS = (
    "from pathlib import Path; from reward.sources.backbones import weights_folder; "
    "print((weights_folder(Path('data/backbone')) / 'model.safetensors').read_text())"
)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_branch_offline_is_what_it_was_when_last_seen(
    place: Workplace, hub: Hub, variable: str
) -> None:
    place.succeed()
    online = outputs(place)
    assert online.keys() >= {"raw/pairs.parquet", "raw/source.json", "backbone/source.json"}
    hub.repositories[f"datasets/{DATASET}"].files["more.jsonl"] = json_lines(ROWS[:1])
    hub.requests.clear()
    place.environment[variable] = "1"
    place.succeed()
    assert python(place, WEIGHTS) == "weights\n"
    assert hub.requests == []
    assert outputs(place) == online


def test_a_full_commit_in_the_cache_is_not_asked_for(place: Workplace, hub: Hub) -> None:
    commits(place, hub)
    place.succeed()
    online = outputs(place)
    hub.requests.clear()
    place.succeed()
    assert python(place, WEIGHTS) == "weights\n"
    assert hub.requests == []
    assert outputs(place) == online
    place.environment |= OFFLINE
    place.succeed()
    assert outputs(place) == online


def test_a_branch_is_asked_for_when_online(place: Workplace, hub: Hub) -> None:
    """Or the tests before would hold for a download that never asks."""
    place.succeed()
    hub.requests.clear()
    place.succeed()
    asked = {f"GET /api/datasets/{DATASET}", f"GET /api/models/{MODEL}"}
    # The client itself may ask for something else on a machine that it does not know yet.
    assert {request for request in hub.requests if "someone/" in request} == asked


def test_the_card_is_known_offline(place: Workplace, hub: Hub) -> None:
    files = {"README.md": CARD, "good/a.jsonl": json_lines(ROWS), "bad/a.jsonl": b"{}"}
    hub.repositories[f"datasets/{DATASET}"].files = files
    place.dataset["split"] = "good"
    place.succeed()
    online = outputs(place)
    place.environment |= OFFLINE
    place.succeed()
    assert outputs(place) == online


def test_a_tokenizer_is_converted_offline(place: Workplace, hub: Hub) -> None:
    weights = {"model.safetensors": b"weights"}
    hub.repositories[f"models/{MODEL}"].files = slow_files(place.folder) | weights
    place.succeed()
    online = outputs(place)
    hub.requests.clear()
    place.environment |= OFFLINE
    place.succeed()
    assert hub.requests == []
    assert outputs(place) == online


def test_a_cache_that_was_copied_serves_elsewhere(place: Workplace, hub: Hub) -> None:
    place.succeed()
    online = outputs(place)
    shutil.copytree(place.folder / "cache", place.folder / "copy", symlinks=True)
    place.environment |= OFFLINE | {"HF_HOME": str(place.folder / "copy")}
    shutil.rmtree(place.folder / "cache")
    place.succeed()
    assert outputs(place) == online


def test_half_a_dataset_is_never_taken_for_the_whole(place: Workplace, hub: Hub) -> None:
    """A download that was ended between two shards: offline the second one is missed."""
    place.succeed()
    online = outputs(place)
    missing = "data/average_rating-00001-of-00002.parquet"
    link = next((place.folder / "cache/hub").rglob(missing))
    link.resolve().unlink()
    link.unlink()
    place.environment |= OFFLINE
    sentence = place.fail()
    assert f"HF_HUB_OFFLINE is set, and {missing} of the dataset someone/pairs at " in sentence
    assert "unset HF_HUB_OFFLINE for one run" in sentence
    del place.environment["HF_HUB_OFFLINE"]
    place.succeed()
    assert outputs(place) == online


def test_files_without_a_list_of_all_are_not_a_dataset(place: Workplace, hub: Hub) -> None:
    """What the client alone leaves of a download that was ended: a revision and some shards."""
    commit = hub.repositories[f"datasets/{DATASET}"].commit
    program = (
        "from huggingface_hub import hf_hub_download; "
        f"hf_hub_download({DATASET!r}, 'data/average_rating-00000-of-00002.parquet', "
        "repo_type='dataset')"
    )
    assert python(place, program) == ""
    assert (place.folder / "cache/hub/datasets--someone--pairs/refs/main").read_text() == commit
    place.environment |= OFFLINE
    for revision in ("main", commit):
        place.dataset["revision"] = revision
        sentence = place.fail()
        assert f"does not know what the dataset someone/pairs holds at its revision {revision}" in (
            sentence
        )


def test_what_snapshot_download_left_is_enough(place: Workplace, hub: Hub) -> None:
    """`hf download` on a machine with a network, then a run on one without."""
    files = {"README.md": CARD, "good/a.jsonl": json_lines(ROWS), "bad/a.jsonl": b"{}"}
    hub.repositories[f"datasets/{DATASET}"].files = files
    place.dataset["split"] = "good"
    program = (
        "from huggingface_hub import snapshot_download; "
        f"snapshot_download({DATASET!r}, repo_type='dataset'); snapshot_download({MODEL!r})"
    )
    python(place, program)
    hub.requests.clear()
    place.environment |= OFFLINE
    place.succeed()
    assert hub.requests == []
    offline = outputs(place)
    for path in (place.folder / "cache/hub").rglob("bad/a.jsonl"):
        path.unlink()  # not needed, and so not missed
    place.succeed()
    assert outputs(place) == offline
    del place.environment["HF_HUB_OFFLINE"]
    place.environment["HF_HOME"] = str(place.folder / "new cache")
    place.succeed()
    assert outputs(place) == offline


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ({}, "does not know what the dataset someone/pairs holds at its revision main"),
        ({"revision": "0" * 40}, f"holds at its revision {'0' * 40}: unset HF_HUB_OFFLINE"),
        ({"source": "someone/else"}, "does not know what the dataset someone/else holds"),
    ],
)
def test_nothing_in_the_cache(
    place: Workplace, hub: Hub, dataset: dict[str, str], sentence: str
) -> None:
    place.dataset |= dataset
    place.environment |= OFFLINE
    assert sentence in place.fail()
    assert hub.requests == []


def test_weights_that_are_missing_offline(place: Workplace, hub: Hub) -> None:
    place.succeed()
    place.environment |= OFFLINE | {"HF_HOME": str(place.folder / "another machine")}
    sentence = python(place, WEIGHTS)
    assert "HF_HUB_OFFLINE is set, and config.json of the model someone/model at " in sentence
    assert str(place.folder / "another machine") in sentence


def test_a_model_that_is_saved_offline_has_the_same_bytes(place: Workplace) -> None:
    """Transformers would write into it whether it was offline."""
    program = (
        "from pathlib import Path; "
        "from reward.training.model_folder import open_tokenizer, save_tokenizer; "
        "save_tokenizer(open_tokenizer(Path('model')), Path('saved'))"
    )
    assert python(place, program) == ""
    folder = place.folder / "saved"
    online = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    place.environment |= OFFLINE
    assert python(place, program) == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == online
