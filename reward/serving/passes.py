"""Requests that arrive together are computed together: one thread, pass after pass."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import numpy as np

from reward.serving.counts import Counts
from reward.serving.model import RewardModel
from reward.serving.prefixes import Prefixes
from reward.tokens.prefix import Ids


@dataclass
class _Job:
    """A request's sequences, and where their rewards, (sequences,), are waited for."""

    sequences: Sequence[Ids]
    rewards: "Future[np.ndarray]" = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)

    def drop(self) -> None:
        """Free the sequences: cancelled, it stays in the queue until its turn."""
        self.sequences = ()


MOST_FAILURES = 20


class Passes:
    """A thread that scores all that waits, in the order of arrival.

    A pass takes requests until they have the model's budget of tokens, common beginnings counted
    once; for more of them it waits until `seconds` after the first one arrived.
    """

    def __init__(self, model: RewardModel, counts: Counts, seconds: float) -> None:
        self._model, self._counts, self._seconds = model, counts, seconds
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()  # None: no more will come
        self._failures = 0  # requests in a row that ended in an error
        self._thread = threading.Thread(target=self._run, name="passes", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests will be answered: a device that is lost fails all of them."""
        return self._thread.is_alive() and self._failures < MOST_FAILURES

    def ask(self, sequences: Sequence[Ids]) -> "Future[np.ndarray]":
        """The rewards of token sequences, float64 (sequences,), as soon as they are computed.

        A request that is cancelled before its pass begins is left out of it. What the model raises
        is raised for the request that it was raised for alone.
        """
        job = _Job(sequences)
        job.rewards.add_done_callback(lambda _: job.drop())
        self._waiting.put(job)
        return job.rewards

    def close(self) -> None:
        """Compute what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while first := self._waiting.get():
            jobs, together = self._gather(first)
            left = [job for job in jobs if job.rewards.set_running_or_notify_cancel()]
            if left:
                self._answer(left, together if len(left) == len(jobs) else _together(left))

    def _gather(self, first: _Job) -> tuple[list[_Job], Prefixes]:
        """The requests of the next pass, and their sequences."""
        jobs: list[_Job] = []
        together = Prefixes()
        until = first.arrived + self._seconds
        job: _Job | None = first
        while job:
            if not job.rewards.cancelled():
                jobs.append(job)
                together.add(job.sequences)
            job = self._next(until) if together.tokens < self._model.budget else None
        return jobs, together

    def _next(self, until: float) -> _Job | None:
        try:
            job = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return None
        if job is None:
            self._waiting.put(None)  # for _run
        return job

    def _answer(self, jobs: Sequence[_Job], together: Prefixes) -> None:
        try:
            rewards = self._compute(together)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits
            if len(jobs) == 1:
                self._failures += 1
                jobs[0].rewards.set_exception(error)
            else:  # alone, each shows whether the error is its own
                for job in jobs:
                    self._answer([job], _together([job]))
            return
        self._failures = 0
        self._counts.passes.observe(len(jobs))
        ends = np.cumsum([len(job.sequences) for job in jobs])
        for job, own in zip(jobs, np.split(rewards, ends[:-1]), strict=True):
            job.rewards.set_result(own)

    def _compute(self, together: Prefixes) -> np.ndarray:
        # Where prefixes are not shared, rows of a group are padded to its longest.
        groups = together.groups() if self._model.scorer.shared else together.alone()
        rewards = together.in_turn(self._model.score(groups, None))
        lengths = [len(sequence) for group in groups for sequence in group.sequences]
        self._counts.responses.inc(len(lengths))
        self._counts.tokens.labels("asked").inc(sum(lengths))
        self._counts.tokens.labels("computed").inc(sum(group.shared_tokens for group in groups))
        return rewards


def _together(jobs: Sequence[_Job]) -> Prefixes:
    together = Prefixes()
    for job in jobs:
        together.add(job.sequences)
    return together
