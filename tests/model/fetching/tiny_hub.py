"""A hub on this machine: the few addresses of the Hugging Face hub that a download asks, for one tiny repository."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

from huggingface_hub.utils.sha import git_hash

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_a_reader"
SMALLEST_IN_LFS = 100_000  # bytes


@contextlib.contextmanager
def serving(folder: Path, name: str, *, gated: bool = False) -> Generator[tuple[str, list[str]]]:
    """Serve `folder` as the repository `name`: (the hub's address, what was asked of it so far)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def log_message(self, *_args: object) -> None:
            pass

        def answer(self, *, body: bool) -> None:
            path = unquote(urlparse(self.path).path)
            asked.append(f"{self.command} {path}")
            api = f"/api/models/{name}"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                siblings = [{"rfilename": file, "size": len(data)} for file, data in contents(folder).items()]
                gate = "manual" if gated else False
                self.send_json({"id": name, "sha": COMMIT, "siblings": siblings, "gated": gate})
            elif path.startswith(f"{api}/revision/"):
                self.refuse(404, "RevisionNotFound")
            elif path.startswith(f"{api}/tree/"):
                self.send_json(
                    [
                        {"type": "file", "path": file, "size": len(data), "oid": oid_of(data)}
                        for file, data in contents(folder).items()
                    ]
                )
            elif path.startswith(f"/{name}/resolve/"):
                self.send_file(path.removeprefix(f"/{name}/resolve/").split("/", 1)[1], body=body)
            else:
                self.refuse(401, "RepoNotFound")

        def send_file(self, file: str, *, body: bool) -> None:
            if gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.refuse(401, "GatedRepo")
                return
            data = contents(folder)[file]
            self.send_response(200)
            self.send_header("ETag", f'"{oid_of(data)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def send_json(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def oid_of(data: bytes) -> str:
    """The hash by which the hub names a file: SHA-256 for large ones, which stand in LFS, git's for others."""
    return git_hash(data) if len(data) < SMALLEST_IN_LFS else hashlib.sha256(data).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    """By name in the repository, every file's bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
