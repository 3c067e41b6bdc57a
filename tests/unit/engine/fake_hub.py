"""A Hugging Face Hub in small: one model's files over HTTP, as the Hub's API and its downloads answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

MAIN = "main"


@contextmanager
def serving(model: str, folder: Path, **others: Path) -> Iterator[tuple[str, list[str]]]:
    """A Hub that has one model. Yields its address, and the paths it is asked for as they come.

    Args:
        others: the folders of its other branches by name.
    """
    asked: list[str] = []
    branches = {MAIN: folder, **others}
    commits = {name: sha1(name.encode()).hexdigest() for name in branches}

    def branch_of(revision: str) -> str | None:
        return next((name for name in branches if revision in (name, commits[name])), None)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            if path.startswith(about := f"/api/models/{model}"):
                kind, _, revision = path.removeprefix(about).lstrip("/").partition("/")
                branch = branch_of(revision or MAIN)
                body = b"" if branch is None else self._described(branch, tree=kind == "tree")
            else:
                revision, _, name = path.removeprefix(f"/{model}/resolve/").partition("/")
                branch = branch_of(revision)
                file = branches[branch or MAIN] / name
                if branch is not None and not file.is_file():
                    return self._absent("EntryNotFound")
                body = file.read_bytes() if branch else b""
            if branch is None:
                return self._absent("RevisionNotFound")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", commits[branch])
            self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
            self.end_headers()
            if with_body:
                self.wfile.write(body)
            return None

        def _described(self, branch: str, *, tree: bool) -> bytes:
            files, commit = sorted(branches[branch].iterdir()), commits[branch]
            if tree:
                about = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": commit} for f in files]
                return json.dumps(about).encode()
            names = [{"rfilename": file.name} for file in files]
            return json.dumps({"id": model, "modelId": model, "sha": commit, "siblings": names}).encode()

        def _absent(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
