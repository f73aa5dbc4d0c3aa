"""Ends a process between two of its changes to the file system.

`python tests/support/operations.py -m MODULE ...` runs a module as `python -m` does and notes its
operations in the folder OPERATIONS, in a file of the module's name. Where ENDING is

    MODULE AT NUMBER WHOM

it sends the signal NUMBER at the operation AT, from 0 on: to this process (WHOM is `stage`), to its
process group (`group`), or to the DVC that has started it (`dvc`).
"""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

NAMES = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")


def watch(begun: Callable[[str], None]) -> None:
    """Call a function with the name of each operation of this process, before it is done."""

    def watched(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def act(target: Any, *rest: Any, **options: Any) -> Any:
            begun(name if isinstance(target, int) else f"{name} {Path(target).name}")
            return operation(target, *rest, **options)

        return act

    for name in NAMES:
        setattr(os, name, watched(name, getattr(os, name)))


def dvc_above() -> int:
    """The process of the DVC that has started this one."""
    return next(
        process.pid
        for process in psutil.Process().parents()
        if "dvc" in process.cmdline() and "repro" in process.cmdline()
    )


def main() -> None:
    flag, module = sys.argv[1:3]
    assert flag == "-m"
    ending = os.environ.get("ENDING", "").split()
    begun: list[str] = []
    with Path(os.environ["OPERATIONS"], module).open("w", encoding="utf-8") as file:

        def begin(operation: str) -> None:
            begun.append(operation)
            file.write(f"{operation}\n")
            file.flush()
            if ending[:2] == [module, str(len(begun) - 1)]:
                number, whom = int(ending[2]), ending[3]
                if whom == "group":
                    os.killpg(0, number)
                else:
                    os.kill(dvc_above() if whom == "dvc" else os.getpid(), number)

        watch(begin)
        sys.argv[:] = [module, *sys.argv[3:]]
        sys.path[0] = ""  # as with -m
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["-m"]:
        main()
    else:  # it stands in for Python, whatever Python was called for
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606
