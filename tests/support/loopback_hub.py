"""A Hugging Face hub on this machine's loopback interface, so that tests run the real client.

It knows what the client asks for to resolve a revision and to fetch a file: GET
/api/{models,datasets}/OWNER/NAME[/revision/REV], and HEAD and GET [/datasets]/OWNER/NAME/resolve/
REV/FILE with ranges. A repository can be gated, and a file can be served badly on purpose.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/(.+))?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """The files of one repository, by path; `stall` names one whose second half never comes."""

    files: dict[str, bytes]
    gated: bool = False
    stall: str | None = None
    resumes: bool = True
    """Whether ranges are honoured; if not, every attempt starts from nothing."""

    @property
    def commit(self) -> str:
        """A commit id that follows the content, as git's does."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()


@dataclass
class Hub:
    """A running hub; `requests` has the path of each request in order of arrival."""

    repositories: dict[str, Repository]
    url: str = ""
    requests: list[str] = field(default_factory=list)

    def fetched(self) -> set[str]:
        """The names of the files whose content was asked for."""
        found = (FILE.fullmatch(path.removeprefix("GET ")) for path in self.requests)
        return {match[4] for match in found if match}


@contextmanager
def serve(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """Serve repositories, named as "models/OWNER/NAME" or "datasets/OWNER/NAME"."""
    hub = Hub(repositories)
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            if match := API.fullmatch(path):
                self.about(f"{match[1]}/{match[2]}", match[3])
            elif match := FILE.fullmatch(path):
                self.file((match[1] or "models/") + match[2], match[3], match[4])
            else:
                self.problem(404, "EntryNotFound")

        def find(self, name: str, revision: str | None) -> Repository | None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.problem(401, "RepoNotFound")
            elif repository.gated:
                self.problem(403, "GatedRepo")
            elif revision not in (None, "main", repository.commit):
                self.problem(404, "RevisionNotFound")
            else:
                return repository
            return None

        def about(self, name: str, revision: str | None) -> None:
            if repository := self.find(name, revision):
                owner_and_name = name.split("/", 1)[1]
                self.reply(
                    200,
                    json.dumps(
                        {
                            "id": owner_and_name,
                            "sha": repository.commit,
                            "private": False,
                            "siblings": [{"rfilename": file} for file in repository.files],
                            "cardData": card(repository.files.get("README.md", b"")),
                        }
                    ).encode(),
                )

        def file(self, name: str, revision: str, file: str) -> None:
            repository = self.find(name, revision)
            if repository is None:
                return
            if file not in repository.files:
                self.problem(404, "EntryNotFound")
                return
            content = repository.files[file]
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": repository.commit,
            }
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and repository.resumes:
                start = int(wanted[1])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.reply(206 if start else 200, content[start:], headers, file == repository.stall)

        def problem(self, status: int, code: str) -> None:
            self.reply(status, b'{"error": "no"}', {"X-Error-Code": code})

        def reply(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            stall: bool = False,
        ) -> None:
            self.send_response(status)
            for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if stall:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                stop.wait(60)
            else:
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass  # the test reads hub.requests

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


def card(readme: bytes) -> dict[str, Any] | None:
    """The YAML block at the top of a README.md, which the hub's answer repeats."""
    block = re.match(rb"---\n(.*?)\n---\n", readme, re.DOTALL)
    return yaml.safe_load(block[1]) if block else None
