"""A small server that speaks the hub's protocol, as far as fetching needs it, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "a" * 40
OTHER = "b" * 40
# Files from this size on are in large file storage, whose digest is a SHA-256.
LARGE = 1000


@dataclass
class FakeHub:
    """Repositories by name, each with its files by commit, and commits by revision.

    Attributes:
        repositories: OWNER/NAME -> commit -> file -> bytes.
        revisions: OWNER/NAME -> branch or tag -> commit.
        gated: repositories that ask who fetches.
        altered: files whose bytes come otherwise than they are listed.
        cuts: file -> after how many bytes each of its next downloads ends.
        down: whether every answer is 503.
        requests: method and path of each request.
    """

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    revisions: dict[str, dict[str, str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    altered: set[str] = field(default_factory=set)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    down: bool = False
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""

    def add(self, repository: str, files: dict[str, bytes], *, commit: str = COMMIT, revision: str = "main") -> None:
        self.repositories.setdefault(repository, {})[commit] = files
        self.revisions.setdefault(repository, {})[revision] = commit

    def commit(self, repository: str, revision: str) -> str | None:
        known = self.revisions.get(repository, {})
        return revision if revision in self.repositories.get(repository, {}) else known.get(revision)

    def downloads(self, file: str) -> list[str]:
        """The ranges that were asked of a file, an empty one where all of it was."""
        return [ranged for method, path, ranged in self.requests if method == "GET" and path.endswith(f"/{file}")]

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def log_message(self, *arguments: Any) -> None:
                pass

            def _answer(self, *, with_body: bool) -> None:
                path = unquote(urlparse(self.path).path)
                hub.requests.append((self.command, path, self.headers.get("Range", "")))
                if hub.down:
                    self._send(503, b"", {})
                elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
                    self._list(match[1], match[2])
                elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                    self._file(match[1], match[2], match[3], with_body)
                else:
                    self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

            def _list(self, repository: str, revision: str) -> None:
                if repository in hub.gated:
                    return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
                if repository not in hub.repositories:
                    return self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
                commit = hub.commit(repository, revision)
                if commit is None:
                    return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
                siblings = []
                for name, data in hub.repositories[repository][commit].items():
                    sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_digest(data)}
                    if len(data) >= LARGE:
                        digest = hashlib.sha256(data).hexdigest()
                        sibling["lfs"] = {"size": len(data), "sha256": digest, "pointerSize": 130}
                    siblings.append(sibling)
                document = {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings}
                self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

            def _file(self, repository: str, commit: str, name: str, with_body: bool) -> None:
                files = hub.repositories.get(repository, {}).get(commit, {})
                if name not in files:
                    return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                data = files[name]
                digest = hashlib.sha256(data).hexdigest() if len(data) >= LARGE else git_digest(data)
                headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
                if name in hub.altered:
                    data = bytes([data[0] ^ 1]) + data[1:]
                status, begin = 200, 0
                if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                    status, begin = 206, int(match[1])
                    headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
                cut = hub.cuts.get(name)
                self._send(status, data[begin:], headers, with_body, cut.pop(0) if cut and with_body else None)

            def _send(
                self, status: int, body: bytes, headers: dict[str, str], with_body: bool = True, cut: int | None = None
            ) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(body[:cut])
                if cut is not None:
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
