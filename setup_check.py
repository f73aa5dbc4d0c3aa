"""Check whether this machine can run the pipeline, and on what: python setup_check.py

Prints what is installed, the device and the number format that follow from it, and whether DVC,
git, the model hub and the disk are ready. Ends with exit status 1 and one sentence for each thing
that is broken; an unreachable hub is not (the sample and the tiny backbone need none).
"""

from __future__ import annotations  # an older Python has to reach the sentence about it

import argparse
import http.client
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
HUB_SECONDS = 3.0
LEAST_FREE_BYTES = 2**30  # a run of the sample leaves far less; a hub's backbone needs several GiB
GIB = 2**30


class Finding(NamedTuple):
    """One line of the report; `problem` is a sentence where something is broken."""

    name: str
    value: str
    problem: str | None = None


def main() -> int:
    """Print the report; the exit status is 1 where something is broken."""
    findings = [
        check_python(sys.version_info[:3]),
        check_command(),
        *check_libraries(PROJECT / "requirements.txt"),
        *check_device(),
        check_model(PROJECT / "data/model/machine.json"),
        check_git(PROJECT),
        check_dvc(PROJECT),
        check_hub(),
        check_disk(shutil.disk_usage(PROJECT).free),
    ]
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{finding.name:<{width}}  {finding.value}{'  <- broken' if finding.problem else ''}")
    problems = [finding.problem for finding in findings if finding.problem]
    print()
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("Ready: dvc repro runs what changed.")
    return 1 if problems else 0


def check_python(version: tuple[int, ...]) -> Finding:
    """The interpreter that runs this check, against the oldest one that the project supports."""
    found = ".".join(map(str, version))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if version < OLDEST_PYTHON:
        return Finding(
            "Python",
            found,
            f"Python is {found}, but the project needs {oldest} or newer: install one and run "
            f"make PYTHON=python{oldest} repro.",
        )
    return Finding("Python", f"{found} ({oldest} or newer)")


def check_command() -> Finding:
    """Whether `python`, which dvc.yaml calls, is the interpreter that runs this check."""
    python = shutil.which("python")
    prefix = ""
    if python is not None:
        asked = [python, "-c", "import sys; print(sys.prefix)"]
        prefix = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if prefix != sys.prefix:
        return Finding(
            "python command",
            python or "none",
            f"The command python starts {python or 'nothing'}, but the stages call it and need "
            f"{sys.executable}: put {Path(sys.executable).parent} first on PATH (make does).",
        )
    return Finding("python command", str(python))


def check_libraries(requirements: Path) -> list[Finding]:
    """The installed version of each pinned library, against its pin."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    return [check_library(name, pin) for name, pin in pins]


def check_library(name: str, pin: str) -> Finding:
    """One library; a build's local label (2.13.0+cpu) is the same version."""
    cure = f"run python -m pip install {name}=={pin}"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", f"{name} is not installed, but {pin} is needed: {cure}.")
    if found.partition("+")[0] != pin:
        return Finding(name, f"{found} (pin {pin})", f"{name} is {found}, not {pin}: {cure}.")
    return Finding(name, found)


def check_device() -> list[Finding]:
    """The device that training and evaluation use, its memory and its number formats."""
    try:
        from reward.scoring.devices import best_device, device_name, memory, precision
    except ImportError as error:
        problem = f"The device cannot be chosen ({error}): install what is missing first."
        return [Finding("Device", "unknown", problem)]
    device = best_device()
    formats = precision(device)
    described = f"{formats.trained} weights, {formats.frozen} base under LoRA"
    if formats.autocast is not None:
        described += f", {formats.autocast} matrix products"
    return [
        Finding("Device", f"{device_name(device)}, {memory(device) / GIB:.1f} GiB memory"),
        Finding("Number format", described.replace("torch.", "")),
    ]


def check_model(record: Path) -> Finding:
    """Whether the model here was trained on a machine like this one; neither counts as broken."""
    if not record.is_file():
        return Finding("Model", "none here: dvc pull fetches it, dvc repro makes it")
    try:
        from reward.training.machine import differences
    except ImportError:
        return Finding("Model", "not compared without torch")
    if differs := differences(json.loads(record.read_text(encoding="utf-8"))):
        return Finding("Model", f"trained elsewhere ({'; '.join(differs)})")
    return Finding("Model", "trained on a machine like this one")


def check_git(project: Path) -> Finding:
    """Whether there is git, and a commit that experiments can start from."""
    if shutil.which("git") is None:
        return Finding("git", "missing", "git is not installed, but DVC needs it: install git.")
    asked = ["git", "-C", str(project), "rev-parse", "--short", "--verify", "HEAD"]
    head = subprocess.run(asked, capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return Finding(
            "git",
            "no commit",
            f"{project} has no git commit, but experiments start from one: clone the project, "
            f"or run git init, git add . and git commit.",
        )
    return Finding("git", f"at commit {head.stdout.strip()}")


def check_dvc(project: Path) -> Finding:
    """Whether DVC opens the project and reads every stage."""
    asked = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    stages = subprocess.run(asked, cwd=project, capture_output=True, text=True, check=False)
    if stages.returncode != 0:
        complaint = (stages.stderr.strip() or "no message").splitlines()[-1].rstrip(".")
        cure = "run python -m dvc stage list to see more"
        return Finding("DVC", "not ready", f"DVC cannot read the stages ({complaint}): {cure}.")
    return Finding("DVC", f"ready, {len(stages.stdout.split())} stages")


def check_hub() -> Finding:
    """Whether the hub for data sets and backbones answers; it never counts as broken."""
    try:
        from huggingface_hub.constants import ENDPOINT
    except ImportError:
        return Finding("Hub", "not asked without huggingface_hub")
    try:
        request = urllib.request.Request(ENDPOINT, method="HEAD")  # noqa: S310 the user's setting
        urllib.request.urlopen(request, timeout=HUB_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        pass  # an answer all the same
    except (OSError, http.client.HTTPException, ValueError):
        return Finding("Hub", f"{ENDPOINT} not reachable (the sample needs none)")
    return Finding("Hub", f"{ENDPOINT} reachable")


def check_disk(free: int) -> Finding:
    """Free bytes where the project, its cache and its outputs are."""
    value = f"{free / GIB:.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        least = f"{LEAST_FREE_BYTES / GIB:.1f} GiB"
        return Finding("Disk", value, f"The disk has {value}, but a run needs {least}: free some.")
    return Finding("Disk", value)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.partition("\n\n")[2]).parse_args()
    sys.exit(main())
