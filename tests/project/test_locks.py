"""The locks: all that is installed, with version and hashes, for every platform."""

import importlib.metadata
import re
from collections.abc import Iterator

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.pipeline import PROJECT

LOCKS = ("requirements.lock", "requirements-dev.lock")
# Their wheels differ by the index that they come from, so these have a version and no hash.
UNHASHED = re.compile(r"torch|triton|(cuda|nvidia)-.+")
PLATFORMS = [
    {"sys_platform": system, "platform_machine": machine, "python_full_version": f"{python}.1"}
    | {"python_version": python, "platform_system": name, "implementation_name": "cpython"}
    for system, name, machine in (
        ("linux", "Linux", "x86_64"),
        ("linux", "Linux", "aarch64"),
        ("darwin", "Darwin", "arm64"),
    )
    for python in ("3.11", "3.12", "3.13")
]


def entries(name: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Each entry of a file of requirements, with its hashes."""
    text = (PROJECT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith(("#", "-r ")):
            entry, *hashes = line.split("--hash=")
            yield Requirement(entry.partition(" #")[0]), [one.strip() for one in hashes]


def versions(name: str, platform: dict[str, str] | None = None) -> dict[str, str]:
    """What a file has installed on a platform, on this one if none is given: name to version."""
    found: dict[str, str] = {}
    for entry, _ in entries(name):
        if entry.marker is None or entry.marker.evaluate(platform):
            (pin,) = entry.specifier
            assert pin.operator == "=="
            assert canonicalize_name(entry.name) not in found, f"{entry.name} is there twice"
            found[canonicalize_name(entry.name)] = pin.version
    return found


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda one: "-".join([*one.values()][:3]))
def test_locks_and_constraints_agree_on_every_platform(platform: dict[str, str]) -> None:
    everything = versions("constraints.txt", platform)
    development = versions("requirements-dev.lock", platform)
    assert versions("requirements.lock", platform).items() <= development.items()
    assert development.items() <= everything.items()
    rest = everything.keys() - development.keys()
    assert "torch" in rest
    assert all(UNHASHED.fullmatch(name) for name in rest)
    assert (len(rest) > 1) == (platform["sys_platform"] == "linux")  # CUDA is for Linux


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_has_hashes_and_no_place_to_come_from(lock: str) -> None:
    found = list(entries(lock))
    assert len(found) > 100
    for entry, hashes in found:
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), entry
        assert not UNHASHED.fullmatch(entry.name), entry
    for name in (lock, "constraints.txt"):
        text = (PROJECT / name).read_text(encoding="utf-8")
        assert "://" not in text
        assert "index" not in re.findall(r"(?m)^--(\w+)", text)


@pytest.mark.parametrize("name", sorted(path.name for path in PROJECT.glob("requirements*.txt")))
def test_every_requirement_is_locked(name: str) -> None:
    lock = "requirements.lock" if name == "requirements.txt" else "requirements-dev.lock"
    wanted = versions(name)
    assert wanted
    assert wanted.items() <= (versions("constraints.txt") | versions(lock)).items()
    unhashed = wanted.keys() - versions(lock).keys()
    assert unhashed == ({"torch"} if name == "requirements.txt" else set())


def test_what_is_installed_is_what_is_locked() -> None:
    """Drift, and libraries that others need and the locks lack."""
    locked = versions("constraints.txt")
    seen = set()
    for name in locked:
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # CUDA's where torch is a build for CPUs; Ray's where it is not wanted
        seen.add(name)
        assert found.version.partition("+")[0] == locked[name], name
        for line in found.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in locked, f"{name} needs {needed.name}"
                assert locked[canonicalize_name(needed.name)] in needed.specifier, line
    assert {"torch", "dvc", "pytest"} <= seen


def test_platforms_are_described_as_markers_are() -> None:
    """A misspelt key would let every marker see this machine's value."""
    assert all(platform.keys() <= default_environment().keys() for platform in PLATFORMS)
