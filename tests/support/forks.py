"""Runs a stage again and again in forks of one process, each of which can be ended on its way.

A stage takes seconds to import and a tenth of one to run on a few pairs: forks of a process that
has imported it, and after the first run all that this has imported on its way, make hundreds of
kills affordable. `python tests/support/forks.py MODULE` is that process. It reads requests and
writes answers, one JSON object a line.
"""

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support import operations


class Ended(NamedTuple):
    """How a run ended."""

    status: int
    """As `subprocess` has it: minus the number of the signal that ended the process."""
    operations: list[str]
    """Those of tests/support/operations.py that it began."""
    errors: str
    """What it printed to stderr."""


class Forks:
    """The process that is forked, as a context."""

    def __init__(self, module: str, environment: dict[str, str]):
        self.module, self.environment = module, environment

    def __enter__(self) -> "Forks":
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        assert self._process.wait(timeout=300) == 0

    def run(
        self,
        folder: Path,
        options: Sequence[str],
        *,
        at: int | None = None,
        number: int = signal.SIGKILL,
    ) -> Ended:
        """Run the module in a folder; at the operation `at`, from 0 on, it gets a signal."""
        request = {"folder": str(folder), "options": [*options], "at": at, "number": int(number)}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def serve(module: str) -> None:
    importlib.import_module(module)
    # Forks run it as a program, whose module is loaded anew and whose imports are there.
    del sys.modules[module]
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["folder"])
        log, errors = folder / "operations.log", folder / "stderr.log"
        modules = folder / "modules.log"
        child = os.fork()
        if not child:
            _be_the_stage(module, request, log, errors, modules)
        _, status = os.waitpid(child, 0)
        if modules.exists():
            for name in modules.read_text(encoding="utf-8").split():
                with suppress(ImportError):
                    importlib.import_module(name)
            modules.unlink()
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "operations": log.read_text(encoding="utf-8").splitlines(),
            "errors": errors.read_text(encoding="utf-8"),
        }
        print(json.dumps(answer), flush=True)


def _be_the_stage(
    module: str, request: dict[str, Any], log: Path, errors: Path, modules: Path
) -> None:
    known = {*sys.modules, module}
    os.chdir(request["folder"])
    os.environ["DVC_ROOT"] = request["folder"]
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(2, 1)  # the parent's stdout is for its answers
    begun: list[str] = []
    with log.open("w", encoding="utf-8") as file:

        def begin(operation: str) -> None:
            begun.append(operation)
            file.write(f"{operation}\n")
            file.flush()
            if len(begun) - 1 == request["at"]:
                os.kill(os.getpid(), request["number"])

        operations.watch(begin)
        sys.argv[:] = [module, *request["options"]]
        code = 1
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 as Python does at its end
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
    modules.write_text(" ".join(name for name in sys.modules if name not in known), "utf-8")
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
