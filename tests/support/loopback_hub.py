"""A Hugging Face hub on this machine's loopback interface, so that tests run the real client.

It knows what the client asks for to resolve a revision, to list files and to fetch one: GET
/api/{models,datasets}/OWNER/NAME[/revision/REV | /tree/REV], and HEAD and GET [/datasets]/OWNER/
NAME/resolve/REV/FILE with ranges. As on the real hub, large kinds of files are known by their
SHA-256 and others by git's SHA-1. A repository can be gated, a file can be served badly on purpose
and a request can be refused.
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
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
LARGE = (".parquet", ".safetensors", ".bin")  # the kinds that repositories keep in LFS


@dataclass
class Repository:
    """The files of one repository, by path, and what is wrong with it."""

    files: dict[str, bytes]
    gated: bool = False
    stall: str | None = None
    """A file whose second half never comes."""
    cut: str | None = None
    """A file after whose first half the connection is closed."""
    resumes: bool = True
    """Whether ranges are honoured; if not, every attempt starts from nothing."""
    served: dict[str, bytes] = field(default_factory=dict)
    """What is sent in place of a file's content; its hash stays that of the file."""
    lists_hashes: bool = True
    """Whether the answer about the repository can have the hashes of its files."""
    names_hashes: bool = True
    """Whether any answer has the hashes of files."""
    sha: str | None = None
    """What is given as the commit, if not the commit."""
    elsewhere: str | None = None
    """The URL of another server to which requests for files are redirected."""

    @property
    def commit(self) -> str:
        """A commit id that follows the content, as git's does."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()


@dataclass
class Hub:
    """A running hub; `requests` has the path of each request in order of arrival, and
    `authorisations` what came with it as Authorization.
    """

    repositories: dict[str, Repository]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    authorisations: list[str | None] = field(default_factory=list)
    refusals: Iterator[tuple[int, dict[str, str]]] = field(default_factory=lambda: iter(()))
    """The status and headers with which the next requests are refused."""
    refusal: bytes = b'{"error": "not now"}'
    """The body of that answer."""
    hangs: bool = False
    """Whether requests are taken and not answered."""

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
            hub.authorisations.append(self.headers.get("Authorization"))
            if hub.hangs:
                stop.wait()
            elif path == "/api/agent-harnesses":  # a list that the client looks up for itself
                self.problem(404, "EntryNotFound")
            elif refusal := next(hub.refusals, None):
                self.reply(refusal[0], hub.refusal, refusal[1])
            elif match := API.fullmatch(path):
                tell = self.tree if match[3] == "tree" else self.about
                tell(f"{match[1]}/{match[2]}", match[4])
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
                            "sha": repository.commit if repository.sha is None else repository.sha,
                            "private": False,
                            "siblings": self.siblings(repository),
                            "cardData": card(repository.files.get("README.md", b"")),
                        }
                    ).encode(),
                )

        def siblings(self, repository: Repository) -> list[dict[str, Any]]:
            asked = "blobs" in parse_qs(urlsplit(self.path).query)
            asked = asked and repository.names_hashes and repository.lists_hashes
            return [
                {"rfilename": file} | (known_by(file, content) if asked else {})
                for file, content in repository.files.items()
            ]

        def tree(self, name: str, revision: str | None) -> None:
            if repository := self.find(name, revision):
                found = {file: known_by(file, c) for file, c in repository.files.items()}
                rows = [
                    {"type": "file", "path": file, "oid": known.pop("blobId"), **known}
                    for file, known in found.items()
                ]
                self.reply(200, json.dumps(rows).encode())

        def file(self, name: str, revision: str, file: str) -> None:
            repository = self.find(name, revision)
            if repository is None:
                return
            if file not in repository.files:
                self.problem(404, "EntryNotFound")
                return
            known = known_by(file, repository.files[file])
            tag = known["lfs"]["sha256"] if "lfs" in known else known["blobId"]
            content = repository.served.get(file, repository.files[file])
            headers = {
                "ETag": f'"{tag if repository.names_hashes else "of " + file.replace("/", " ")}"',
                "X-Repo-Commit": repository.commit,
            }
            if repository.elsewhere:
                headers["Location"] = repository.elsewhere + self.path
                headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
                self.reply(302, b"", headers)
                return
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and repository.resumes:
                start = int(wanted[1])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            stall, cut = file == repository.stall, file == repository.cut
            self.reply(206 if start else 200, content[start:], headers, stall, cut)

        def problem(self, status: int, code: str) -> None:
            self.reply(status, b'{"error": "no"}', {"X-Error-Code": code})

        def reply(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            stall: bool = False,
            cut: bool = False,
        ) -> None:
            self.send_response(status)
            for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if stall or cut:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                if stall:
                    stop.wait()
                self.close_connection = True
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


def known_by(file: str, content: bytes) -> dict[str, Any]:
    """What the hub knows a file by: its size and hashes."""
    sha256 = hashlib.sha256(content).hexdigest()
    if not file.endswith(LARGE):
        return {"size": len(content), "blobId": git_hash(content)}
    pointer = f"oid sha256:{sha256}\nsize {len(content)}\n"
    lfs = {"sha256": sha256, "oid": sha256, "size": len(content), "pointerSize": len(pointer)}
    return {"size": len(content), "blobId": git_hash(pointer.encode()), "lfs": lfs}


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def card(readme: bytes) -> dict[str, Any] | None:
    """The YAML block at the top of a README.md, which the hub's answer repeats."""
    block = re.match(rb"---\n(.*?)\n---\n", readme, re.DOTALL)
    return yaml.safe_load(block[1]) if block else None
