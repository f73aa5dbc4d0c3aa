"""What dvc.lock records of an output, read without DVC, which takes a second to import."""

from pathlib import Path
from typing import Any

import yaml

from reward.harness.files import dvc_hash


def changed_since(output: Path) -> str | None:
    """A sentence if an output is not what its stage wrote; None where it is, or where no dvc.lock
    of the folders above records it.

    Nothing else would show that a bit of a model has flipped. It reads the whole output, at about
    0.7 GB a second, which the system then has in memory for whoever opens it.
    """
    place = output.resolve()
    for folder in place.parents:
        lock = folder / "dvc.lock"
        if lock.is_file():
            path = place.relative_to(folder).as_posix()
            recorded = {out["md5"] for out in _outputs(lock) if out.get("path") == path}
            if not recorded or dvc_hash(place) in recorded:
                return None
            return (
                f"{output} is not what {lock} records, it was changed or damaged: "
                f"`python -m reward.verify` says how to restore it."
            )
    return None


def _outputs(lock: Path) -> list[dict[str, Any]]:
    try:
        stages = yaml.safe_load(lock.read_bytes())["stages"].values()
        return [out for stage in stages for out in stage.get("outs", []) if "md5" in out]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return []  # DVC and reward.verify name what is wrong with it
