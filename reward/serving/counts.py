"""What a server counts, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counts:
    """The measures of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.waiting = Gauge(
            "reward_waiting_requests", "Taken and not answered yet.", registry=self._registry
        )
        self.held = Gauge(
            "reward_held_bytes", "Of the bodies of these requests.", registry=self._registry
        )
        self.requests = Counter(
            "reward_requests",
            "Answered, by path and status; 499 where the client had gone.",
            ("path", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "reward_request_seconds",
            "From a request's headers to its answer.",
            ("path",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.responses = Counter(
            "reward_responses", "Responses with a reward.", registry=self._registry
        )
        self.tokens = Counter(
            "reward_tokens",
            "Tokens: asked for, and computed where common beginnings are shared.",
            ("what",),
            registry=self._registry,
        )
        self.passes = Histogram(
            "reward_pass_requests",
            "Requests merged into a pass; the count is that of the passes.",
            buckets=REQUESTS,
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)
