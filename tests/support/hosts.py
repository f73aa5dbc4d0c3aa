"""Two hosts on this machine: network namespaces with a cable between them and nothing else.

Each sees its own interfaces and the same files, as machines with a shared folder do.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INTERFACE = "cable"  # its name on both hosts


class Hosts:
    """Two hosts that reach each other; the names are those of their namespaces."""

    def __init__(self) -> None:
        self.names = [f"reward-{os.getpid()}-{number}" for number in range(2)]
        self.addresses = ["10.111.0.1", "10.111.0.2"]

    def make(self) -> None:
        """Raises OSError or CalledProcessError where the system does not let one."""
        for name in self.names:
            ip("netns", "add", name)
        first, second = self.names
        ip(
            *("-n", first, "link", "add", INTERFACE, "type", "veth"),
            *("peer", "name", INTERFACE, "netns", second),
        )
        for name, address in zip(self.names, self.addresses, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", INTERFACE)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", INTERFACE, "up")

    def remove(self) -> None:
        for number, name in enumerate(self.names):
            if Path("/run/netns", name).exists():
                self.kill(number)
                ip("netns", "delete", name)  # the cable goes with its first end

    def processes(self, host: int) -> list[int]:
        """The ids of all processes that run on a host."""
        return [int(line) for line in ip("netns", "pids", self.names[host]).split()]

    def kill(self, host: int) -> list[int]:
        """End all processes of a host at once; returns their ids."""
        killed = self.processes(host)
        for process in killed:
            os.kill(process, signal.SIGKILL)
        return killed

    def cut(self) -> None:
        """Pull the cable out: whatever is sent from now on is lost, and nobody hears of it."""
        ip("-n", self.names[1], "link", "set", INTERFACE, "down")
        state = ip("-n", self.names[0], "-oneline", "link", "show", INTERFACE)
        assert "LOWERLAYERDOWN" in state or "NO-CARRIER" in state, state

    def connect(self) -> None:
        ip("-n", self.names[1], "link", "set", INTERFACE, "up")

    def settings(self) -> dict[str, str]:
        """The variables of examples/launch_ssh.sh for these hosts."""
        return {
            "HOSTS": " ".join(self.names),
            "REACH": "ip netns exec",
            "INTERFACE": INTERFACE,
            "MASTER_ADDR": self.addresses[0],
        }


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def why_not() -> str | None:
    """Why there can be no hosts here, None where there can."""
    if not shutil.which("ip"):
        return "there is no `ip` (of iproute2)"
    try:
        with two_hosts():
            return None
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.strip()}"


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    hosts = Hosts()
    try:
        hosts.make()
        yield hosts
    finally:
        hosts.remove()
