"""Work on the batches of a stream, in this process or on the workers of Ray.

Ray is an extra (requirements-ray.txt) and is imported only where an address is given. Its workers
see the same folders as this process and import the same code.
"""

import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tqdm import tqdm

from reward.harness.errors import InputError, first_line

if TYPE_CHECKING:
    from ray import ObjectRef

A = TypeVar("A")
B = TypeVar("B")

LOCAL, AUTO = "local", "auto"
AHEAD = 2  # batches that a worker has at once, so that it never waits for the next one
TRIES = 4  # of one batch; one that ends every worker it comes to must not go on for ever
NOTE_TIME = 60  # seconds without a worker after which a line says so
ANSWER_TIME = 10  # seconds to wait for the address of a cluster to answer


class InOrder(Protocol):
    """Calls of a function on each item of a stream; their results in the items' order."""

    def __call__(self, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """Like `map`. On Ray's workers `work` is pickled, and each has a copy of its own."""


def in_this_process(work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """The results one after another, each item taken when the result before it has been used."""
    return map(work, items)


@contextmanager
def workers(
    address: str | None, *, count: int | None = None, cpus: int = 1, gpus: bool = False
) -> Iterator[InOrder]:
    """What to send the items of a stream through: this process, or with an address Ray's workers.

    address: "local" starts Ray on this machine and stops it again; "auto" or HOST:PORT joins a
    cluster that runs. count: workers; as many as the cluster has room for by default. cpus: CPUs
    of each, which is how many threads its libraries use. gpus: whether each takes a GPU where the
    cluster has any.

    Raises InputError where Ray is not installed, the address does not answer, or the cluster has
    no room for one worker.
    """
    if not address:
        yield in_this_process
        return
    ray = _connected(address)
    try:
        resources = ray.cluster_resources()
        graphics = int(resources.get("GPU", 0)) if gpus else 0
        room = int(resources.get("CPU", 0)) // cpus
        if room < 1:
            raise InputError(
                f"The cluster at {address} has {int(resources.get('CPU', 0))} CPUs and a worker "
                f"takes {cpus}: start it with more, or give a worker fewer."
            )
        room = min(room, graphics or room)
        yield _Pool(min(count or room, room), cpus, 1 if graphics else 0)
    finally:
        ray.shutdown()


def _connected(address: str) -> Any:
    # Both are read when Ray is imported. No statistics are sent to anybody; and Ray's switch for
    # systems whose firewalls would ask makes a Ray of this machine alone listen on loopback alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError(
            "Ray is not installed: pip install -r requirements-ray.txt, or work without it."
        ) from None
    if address not in (LOCAL, AUTO):
        _check_answer(address)
    settings: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **settings)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise InputError(
            f"No Ray cluster can be joined at {address} ({first_line(error)}): start one with "
            f"`ray start --head`, or use {LOCAL}."
        ) from None
    return ray


def _check_answer(address: str) -> None:
    """Ray itself asks an address that does not answer again and again, for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_TIME):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"No Ray cluster answers at {address} ({first_line(error)}): name HOST:PORT of its "
            f"head node, {AUTO} for one that runs on this machine, or {LOCAL} to start one."
        ) from None


class _Worker:
    """What an actor runs. Its function opens what it needs when it is first called."""

    def __init__(self, cpus: int) -> None:
        # Ray limits the threads of OpenMP, and so torch's, but not those of libraries in Rust.
        os.environ["RAYON_NUM_THREADS"] = str(cpus)

    def begin(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def do(self, item: Any) -> Any:
        return self.work(item)


@dataclass(eq=False)
class _Actor:
    handle: Any
    ready: bool = False
    load: int = 0
    """Items that it has and has not finished."""


@dataclass(eq=False)
class _Task:
    """An item on its way, kept until its result is here, so that it can be given out again."""

    item: "ObjectRef[Any]"
    tries: int = 0
    result: tuple[Any] | None = None


class _Pool:
    """Actors that each take the next item when they have finished one.

    Ray restarts an actor that died, as soon as the cluster has room for it. The items that it had
    do not wait for that: they go to the actors that are free first, and their results take their
    places in the order. So a cluster that lost a machine goes on with those that are left.
    """

    def __init__(self, count: int, cpus: int, gpus: int) -> None:
        import ray

        kind = ray.remote(_Worker).options(
            num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=0
        )
        self._ray = ray
        self._actors = [_Actor(kind.remote(cpus)) for _ in range(count)]

    def __call__(self, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        self._work = self._ray.put(work)
        self._running = dict["ObjectRef[Any]", tuple[_Actor, _Task | None]]()
        for actor in self._actors:
            actor.load = 0
            self._begin(actor)
        rest, more = iter(items), True
        given = deque[_Task]()  # in the items' order, until the result is used
        waiting = deque[_Task]()  # for an actor
        while True:
            while more and len(given) < (AHEAD + 1) * len(self._actors):
                for item in islice(rest, 1):
                    given.append(_Task(self._ray.put(item)))
                    waiting.append(given[-1])
                    break
                else:
                    more = False
            if not given:
                return
            self._give_out(waiting)
            if given[0].result:
                yield given.popleft().result[0]  # type: ignore[index]
            else:
                self._wait(waiting)

    def _begin(self, actor: _Actor) -> None:
        # Unlike the items' calls, Ray repeats this one until the actor has been restarted.
        actor.ready = False
        begin = actor.handle.begin.options(max_task_retries=-1)
        self._running[begin.remote(self._work)] = (actor, None)

    def _give_out(self, waiting: deque[_Task]) -> None:
        while waiting and (free := [a for a in self._actors if a.ready and a.load < AHEAD]):
            actor = min(free, key=lambda one: one.load)
            actor.load += 1
            task = waiting.popleft()
            task.tries += 1
            self._running[actor.handle.do.remote(task.item)] = (actor, task)

    def _wait(self, waiting: deque[_Task]) -> None:
        """Wait for one call to end, in whatever way."""
        while not (ended := self._ray.wait([*self._running], timeout=NOTE_TIME)[0]):
            if not any(actor.ready for actor in self._actors):
                tqdm.write("no worker has started yet: see `ray status`", file=sys.stderr)
        (done,) = ended
        actor, task = self._running.pop(done)
        actor.load -= task is not None
        errors = self._ray.exceptions
        try:
            result = self._ray.get(done)
        except (errors.RayActorError, errors.ObjectLostError) as error:
            if actor.ready:
                self._begin(actor)
            if task is None:
                raise InputError(
                    f"A worker does not start ({first_line(error)}): see Ray's logs."
                ) from None
            if task.tries == TRIES:
                raise InputError(
                    f"A batch was lost with its worker {TRIES} times: look at Ray's logs for the "
                    f"reason, which may be too little memory for a worker."
                ) from None
            tqdm.write("a worker was lost; what it had goes to another", file=sys.stderr)
            waiting.appendleft(task)
        except errors.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise
        else:
            if task is None:
                actor.ready = True
            else:
                task.result = (result,)
