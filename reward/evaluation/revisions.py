"""What the revisions of this project have: scores, settings, experiments of one name.

A revision is a branch, tag, commit or experiment name, or `workspace`.
"""

import io
import re
from typing import Any

import dvc.api
import pyarrow as pa
import yaml
from dvc.repo import Repo
from dvc.scm import SCMError
from dvc_data.index import DataIndexError

from reward.evaluation.scores import Score
from reward.harness.errors import InputError, first_line
from reward.harness.tables import open_parquet

WORKSPACE = "workspace"
COLUMNS = [Score.PAIR_ID, Score.CHOSEN_SCORE, Score.REJECTED_SCORE]
"""Those that scores have in every revision."""


def open_revision(rev: str) -> dvc.api.DVCFileSystem:
    """The files, outputs of DVC among them, that the project in the current folder has at `rev`.

    Raises SCMError where there is no such revision.
    """
    return dvc.api.DVCFileSystem(rev=None if rev == WORKSPACE else rev)


def read_scores(rev: str, path: str) -> pa.Table:
    """The columns COLUMNS of the scores that the project in the current folder has at `rev`, and
    Score.PROMPT_ID where they have it.

    Raises InputError with the cure where the revision is unknown, never made scores, or has them
    in neither the cache nor a remote.
    """
    try:
        files = open_revision(rev)
        content = files.cat_file(path)
    except SCMError:
        raise InputError(
            f"{rev} is no branch, tag, commit or experiment of this project: "
            f"take a name that `git log --all` or `dvc exp list --all-commits` shows."
        ) from None
    except (DataIndexError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) and not files.exists(path):
            raise InputError(
                f"{rev} has no {path}: take another revision, or {_checkout(rev)}"
                f"run `dvc repro` and compare with {WORKSPACE}."
            ) from None
        raise InputError(
            f"{path} of {rev} is in neither the cache nor a remote: "
            f"{_checkout(rev)}run `dvc pull`, or `dvc repro` to make it again."
        ) from None
    try:
        table = open_parquet(io.BytesIO(content)).read()
        return table.select([*COLUMNS, *({Score.PROMPT_ID} & {*table.column_names})])
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InputError(
            f"{path} of {rev} is no parquet file with the columns {', '.join(COLUMNS)}, or a "
            f"damaged one ({first_line(error)}): {_checkout(rev)}run `dvc repro --force evaluate`."
        ) from None


def _checkout(rev: str) -> str:
    if rev == WORKSPACE:
        return ""
    return f"`git checkout {rev}` (`dvc exp apply {rev}` for an experiment), "


def read_settings(rev: str) -> dict[str, Any]:
    """The values of params.yaml that the project in the current folder has at `rev`, which exists;
    and, under `files`, the hashes of code and data that the stage train of that run read.

    Raises InputError where there is no such file, or none that can be read.
    """
    try:
        files = open_revision(rev)
        values = yaml.safe_load(files.read_text("params.yaml"))
        read = yaml.safe_load(files.read_text("dvc.lock"))["stages"]["train"]["deps"]
        return values | {"files": {one["path"]: one["md5"] for one in read}}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(
            f"params.yaml and dvc.lock of {rev} cannot be read ({first_line(error)}): take another "
            f"revision."
        ) from None


def experiments(name: str) -> list[str]:
    """The experiments NAME-1, NAME-2, ... of all commits, in the order of their numbers.

    DVC names them so where one `dvc exp run --queue -n NAME` gives a value as a range.
    """
    with Repo() as repo:
        found = repo.experiments.ls(all_commits=True)
    names = {experiment for made in found.values() for experiment, _ in made}
    numbered = {one: re.fullmatch(rf"{re.escape(name)}-(\d+)", one) for one in names}
    numbers = {one: int(match[1]) for one, match in numbered.items() if match}
    return sorted(numbers, key=lambda one: numbers[one])
