"""Are the outputs those that dvc.lock records? `python -m reward.verify`

Reads every byte of the outputs in the workspace and of their content in DVC's cache, and says how
to restore what is damaged, missing or changed. `dvc status` does not find all of it: DVC believes
that a file whose size and time are as before is as before, and that its cache is sound.

Exit status: 0 where all is as dvc.lock records it, 1 where something is not.
"""

from reward.harness.endings import ends_in_a_sentence

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError
from tqdm import tqdm

from reward.harness.errors import InputError, first_line
from reward.harness.files import dvc_hash

CHUNK_BYTES = 2**20


class Finding(NamedTuple):
    """What is wrong with one output, and the shell command that restores it."""

    path: str
    problems: list[str]
    cure: str


def main() -> None:
    """The command line."""
    with ends_in_a_sentence("verify"):
        argparse.ArgumentParser(
            prog="python -m reward.verify",
            description=__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        ).parse_args()
        checked = damaged = 0
        for finding in verify(open_project()):
            checked += 1
            if finding:
                damaged += 1
                print(finding.path, *(f"  {problem}" for problem in finding.problems), sep="\n")
                print(f"  to restore it: {finding.cure}", flush=True)
        print(f"{checked} outputs checked, {damaged} not as dvc.lock records them")
        sys.exit(1 if damaged else 0)


def open_project() -> Repo:
    """The DVC project of the current folder. Raises InputError where there is none to verify."""
    try:
        repo = Repo()
        recorded = any(out.hash_info for stage in repo.index.stages for out in stage.outs)
    except (DvcException, SCMError) as error:
        raise InputError(
            f"DVC cannot open the project of this folder ({first_line(error)}): run this in a "
            f"clone of it whose dvc.yaml and dvc.lock are whole (`git checkout dvc.lock`)."
        ) from None
    if not recorded:
        raise InputError(
            "dvc.lock records no output: `git checkout dvc.lock` brings it back, `dvc repro` "
            "makes the outputs and records them."
        )
    return repo


def verify(repo: Repo) -> Iterator[Finding | None]:
    """Check each output of the pipeline in turn: what is wrong with it, None where all is right."""
    outputs = [(stage.addressing, out) for stage in repo.index.stages for out in stage.outs]
    with tqdm(desc="verify", unit="B", unit_scale=True, disable=None) as bar:
        hashes = _Hashes(bar)
        for stage, out in outputs:
            if out.hash_info:
                yield _Output(repo, stage, out, hashes).finding()
            else:
                yield Finding(out.def_path, ["dvc.lock does not record it"], f"dvc repro {stage}")


class _Hashes:
    """The MD5 of files, each of which is read once, whatever names it has."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._known = dict[tuple[int, int], str]()

    def __call__(self, path: Path) -> str | None:
        """None where there is no file."""
        if not path.is_file():
            return None
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in self._known:
            digest = hashlib.md5(usedforsecurity=False)
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    self._bar.update(len(chunk))
            self._known[key] = digest.hexdigest()
        return self._known[key]


class _Output:
    """One output: its files here, the content that they should have, and that in the cache."""

    def __init__(self, repo: Repo, stage: str, out: Any, hashes: _Hashes) -> None:
        self.repo, self.stage, self.out, self.hashes = repo, stage, out, hashes
        self.path = Path(out.fs_path)
        self.recorded: str = out.hash_info.value
        # By path below the output; a file's own is "". What DVC ignores is in no folder of it.
        found = map(Path, repo.dvcignore.find(out.fs, out.fs_path)) if self.path.is_dir() else ()
        self.here = {file.relative_to(self.path).as_posix(): hashes(file) for file in found}
        if self.path.is_file():
            self.here[""] = hashes(self.path)

    def finding(self) -> Finding | None:
        """Compare all of it."""
        lost = dict[Path, str]()  # of the cache's objects, and what is wrong with each
        wanted = self._wanted(lost)
        if wanted is None:
            differs = [f"{self.out.def_path} is not what dvc.lock records"]
        else:
            differs = [*self._differences(wanted)]
            if self.out.use_cache:
                for md5 in wanted.values():
                    self._look_up(md5, lost)
        if not differs and not lost:
            return None
        objects = [f"{self._name(one)} in DVC's cache is {what}" for one, what in lost.items()]
        cure = self._cure(lost, differs=bool(differs))
        return Finding(self.out.def_path, differs + objects, cure)

    def _wanted(self, lost: dict[Path, str]) -> dict[str, str] | None:
        """The hash of each file as recorded; None where the list of a folder's files is lost."""
        if not self.recorded.endswith(".dir"):
            return {"": self.recorded}
        place = self._look_up(self.recorded, lost)
        if place not in lost:
            return {entry["relpath"]: entry["md5"] for entry in json.loads(place.read_text())}
        if self.path.is_dir() and dvc_hash(self.path) == self.recorded:
            return {name: md5 for name, md5 in self.here.items() if md5}
        return None

    def _look_up(self, md5: str, lost: dict[Path, str]) -> Path:
        """The place of an object in the cache; it is noted in `lost` if it is not whole there."""
        place = Path(self.repo.cache.local.oid_to_path(md5))
        found = self.hashes(place)
        if found is None:
            lost[place] = "missing"
        elif found != md5.removesuffix(".dir"):
            lost[place] = "damaged"
        return place

    def _differences(self, wanted: dict[str, str]) -> Iterator[str]:
        for name in sorted({*wanted, *self.here}):
            file = f"{self.out.def_path}/{name}" if name else self.out.def_path
            if name not in self.here:
                yield f"{file} is missing"
            elif name not in wanted:
                yield f"{file} is not part of it"
            elif self.here[name] != wanted[name]:
                yield f"{file} is damaged or changed"

    def _cure(self, lost: dict[Path, str], *, differs: bool) -> str:
        path = shlex.quote(self.out.def_path)
        remove = f"rm -rf {path}"
        if not self.out.use_cache:
            kept = self._in_git()
            return f"{remove} && " + (f"git checkout HEAD -- {path}" if kept else "dvc repro")
        # DVC would leave a file alone that has its old size and time, so it is removed first.
        checkout = f"{remove} && dvc checkout {path}"
        sound = {md5: name for name, md5 in self.here.items() if md5}
        copies = [sound.get(f"{place.parent.name}{place.name}") for place in lost]
        if all(copy is not None for copy in copies):
            commands = [
                f"mkdir -p {self._name(place.parent)} && "
                f"cp -f {shlex.quote(self._file(copy))} {self._name(place)}"
                for place, copy in zip(lost, copies, strict=True)
                if copy is not None
            ]
            return " && ".join([*commands, *([checkout] if differs else [])])
        objects = "".join(f" {self._name(place)}" for place in lost)
        again = f"dvc pull {path}" if self.repo.config["core"].get("remote") else "dvc repro"
        return f"{remove}{objects} && {again}"

    def _in_git(self) -> bool:
        """Whether the last commit has the file as it is recorded."""
        command = ["git", "show", f"HEAD:./{self.out.def_path}"]
        shown = subprocess.run(command, cwd=self.repo.root_dir, capture_output=True, check=False)
        found = hashlib.md5(shown.stdout, usedforsecurity=False).hexdigest()
        return shown.returncode == 0 and found == self.recorded

    def _file(self, name: str) -> str:
        return f"{self.out.def_path}/{name}" if name else self.out.def_path

    def _name(self, place: Path) -> str:
        root = Path(self.repo.root_dir)
        inside = place.is_relative_to(root)
        return shlex.quote(str(place.relative_to(root) if inside else place))


if __name__ == "__main__":
    main()
