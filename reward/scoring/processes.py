"""The processes that a launcher starts: each joins the others before it does anything else."""

import atexit
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import PartialState

from reward.harness.errors import InputError, first_line

# gloo's errors are RuntimeErrors of no kind of their own, and not all of them name it.
GLOO = re.compile("gloo|pair closure|connection (closed|reset) by peer", re.IGNORECASE)


@contextmanager
def joined_processes(device: torch.device, time_limit: int) -> Iterator[PartialState]:
    """Join the processes that the launcher of this one has started; yields which of them it is.

    device: what they compute on. time_limit: seconds that one waits for the others, at the start
    and in every exchange. To be entered first: whatever accelerate or transformers ask later gets
    the same answer.

    Raises InputError where the launcher has started several processes and each would work for
    itself, and, within the block as well, where another process is lost or does not answer in time.
    """
    try:
        # On a CPU accelerate joins nobody unless the CPU is asked for.
        state = PartialState(cpu=device.type == "cpu", timeout=timedelta(seconds=time_limit))
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if state.num_processes != started:
            raise InputError(
                f"the launcher started {started} processes and {state.num_processes} work "
                f"together: start them by torchrun, as params.yaml shows at `launcher`."
            )
        yield state
    except Exception as error:
        if dist.is_initialized():
            atexit.register(_leave)
        gloo = isinstance(error, RuntimeError) and GLOO.search(str(error))
        if not isinstance(error, dist.DistError) and not gloo:
            raise
        # Without the place in torch's sources and without its advice.
        reason = re.sub(r"^\[\S+:\d+\] ", "", first_line(error)).split(". ")[0][:200]
        raise InputError(
            f"another process was lost or did not answer within process_timeout={time_limit} "
            f"seconds ({reason}): see what that process printed, and run again, which goes on from "
            f"the last checkpoint."
        ) from None
    else:
        if dist.is_initialized():
            dist.destroy_process_group()


def _leave() -> None:
    """End the process without what Python and torch do last.

    Before they let go, each exchange that is still queued would wait for the others until its own
    time limit, while the others wait for this process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
