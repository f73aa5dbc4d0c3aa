"""The command line of a stage."""

from reward.harness.endings import ends_in_a_sentence

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from reward.harness.params import Params, load_params


def run(stage: Callable[..., None], kind: type[Params], *, again: str = "") -> NoReturn:
    """Run a stage from the command line: `stage(params, **paths)`.

    Every parameter of the stage after the first is a path and becomes an option of the same name,
    so dvc.yaml is the only place that knows paths. again: what comes of running it again after an
    interrupt. How the process ends is in reward.harness.endings.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage.__name__}", description=stage.__doc__
    )
    for name in list(inspect.signature(stage).parameters)[1:]:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    with ends_in_a_sentence(stage.__name__, again=again):
        arguments = vars(parser.parse_args())
        stage(load_params(kind), **arguments)
    sys.exit(0)
