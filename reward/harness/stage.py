"""The command line of a stage."""

from reward.harness.endings import ends_in_a_sentence

import argparse
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from reward.harness.params import Params, load_params

EPILOG = "The values in params.yaml say how. `dvc repro` runs this with the paths in dvc.yaml."
# "name: text." or "name, name: text." in a docstring; a full stop ends where a space follows it.
EXPLAINED = re.compile(r"(?:^|(?<=\. ))(\w+(?:, \w+)*): (.+?)\.(?= |$)")


def run(stage: Callable[..., None], kind: type[Params], *, again: str = "") -> NoReturn:
    """Run a stage from the command line: `stage(params, **paths)`.

    Every parameter of the stage after the first is a path and becomes an option of the same name,
    so dvc.yaml is the only place that knows paths. again: what comes of running it again after an
    interrupt. How the process ends is in reward.harness.endings.
    """
    with ends_in_a_sentence(stage.__name__, again=again):
        arguments = vars(command_line(stage).parse_args())
        stage(load_params(kind), **arguments)
    sys.exit(0)


def command_line(stage: Callable[..., None]) -> argparse.ArgumentParser:
    """The options of a stage, with what its docstring says of each.

    The first paragraph says what the stage does, and the second what each path is.
    """
    summary, paths, *_ = [*(inspect.getdoc(stage) or "").split("\n\n"), ""]
    texts = {
        name: text
        for names, text in EXPLAINED.findall(" ".join(paths.split()))
        for name in names.split(", ")
    }
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage.__name__}", description=summary, epilog=EPILOG
    )
    for name in list(inspect.signature(stage).parameters)[1:]:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=Path, required=True, metavar="PATH", help=texts.get(name))
    return parser
