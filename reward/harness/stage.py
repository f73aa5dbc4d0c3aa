"""The command line of a stage."""

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from reward.harness.errors import InputError
from reward.harness.params import Params, load_params


def run(stage: Callable[..., None], kind: type[Params]) -> NoReturn:
    """Run a stage from the command line: `stage(params, **paths)`.

    Every parameter of the stage after the first is a path and becomes an option of the same name,
    so dvc.yaml is the only place that knows paths. An InputError ends the process with its
    sentence on stderr and exit status 1.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage.__name__}", description=stage.__doc__
    )
    for name in list(inspect.signature(stage).parameters)[1:]:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    arguments = vars(parser.parse_args())
    try:
        stage(load_params(kind), **arguments)
    except InputError as error:
        print(f"{stage.__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
