"""A model hub on this machine, for tests: as much of the hub's protocol as huggingface_hub needs for one repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class LocalHub:
    """One repository, hands/trial, with one commit.

    Attributes:
        files: content of each file.
        url: where it is served.
        requests: paths that were asked for.
        said: the SHA-256 that the hub claims for a file, if it isn't the file's own.
    """

    files: dict[str, bytes]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def sha256(self, name: str) -> str:
        return self.said.get(name, hashlib.sha256(self.files[name]).hexdigest())


@contextmanager
def local_hub(files: dict[str, bytes]) -> Iterator[LocalHub]:
    """Serve a hub while the context lasts."""
    hub = LocalHub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: LocalHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._file(body=False)

        def do_GET(self) -> None:
            if self.path.startswith("/api/models/hands/trial"):
                self._json({"id": "hands/trial", "sha": COMMIT, "siblings": [{"rfilename": n} for n in hub.files]})
            else:
                self._file(body=True)

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            hub.requests.append(self.path)
            names = [name for name in hub.files if name in asked]
            self._json(
                [
                    {
                        "type": "file", "path": name, "size": len(hub.files[name]), "oid": "0" * 40,
                        "lfs": {"oid": hub.sha256(name), "size": len(hub.files[name]), "pointerSize": 130},
                    }
                    for name in names
                ]
            )  # fmt: skip

        def _file(self, body: bool) -> None:
            hub.requests.append(self.path)
            name = self.path.partition("?")[0].rpartition("/")[2]
            if not self.path.startswith(f"/hands/trial/resolve/{COMMIT}/") or name not in hub.files:
                missing = "RepoNotFound" if not self.path.startswith("/hands/trial/") else "EntryNotFound"
                self._send(404, b"", {"X-Error-Code": missing})
                return
            about = {"ETag": f'"{hashlib.sha256(hub.files[name]).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self._send(200, hub.files[name], about, body)

        def _json(self, document: object) -> None:
            self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool = True) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Do nothing."""

    return Handler
