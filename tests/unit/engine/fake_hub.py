"""A Hugging Face Hub in small: one model's files over HTTP, as the Hub's API and its downloads answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "5" * 40


@contextmanager
def serving(model: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A Hub that has one model. Yields its address, and the paths it is asked for as they come."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            if path.startswith(f"/api/models/{model}/tree/"):
                files = sorted(folder.iterdir())
                about = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": COMMIT} for f in files]
                body = json.dumps(about).encode()
            elif path.startswith(f"/api/models/{model}"):
                names = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                body = json.dumps({"id": model, "modelId": model, "sha": COMMIT, "siblings": names}).encode()
            else:
                file = folder / path.rpartition("/")[2]
                if not path.startswith(f"/{model}/resolve/") or not file.is_file():
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
