"""A hub for tests: its cache on disk, and a server that speaks what is used of its protocol."""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

from paraclip_bench.data.data_set import Pin

Files = dict[str, bytes]


def etag(content: bytes) -> str:
    """The hub's checksum of a file: sha256 for a large one (10 bytes and more here), git's sha1."""
    if len(content) >= 10:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def write_cache(hub_cache: Path, pin: Pin, files: Files, revision: str | None = None) -> Path:
    """Write a data set as the hub's libraries keep it: blobs by checksum, and links to them."""
    repository = hub_cache / f"datasets--{pin.id.replace('/', '--')}"
    snapshot = repository / "snapshots" / (revision or pin.revision)
    for name, content in files.items():
        blob = repository / "blobs" / etag(content)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
    return snapshot


def _entry(name: str, content: bytes) -> dict[str, object]:
    digest = etag(content)
    lfs = {"lfs": {"oid": digest, "size": len(content), "pointerSize": 100}}
    entry = {"type": "file", "path": name, "size": len(content), "oid": digest}
    return entry | (lfs if len(digest) == 64 else {})


class _Handler(http.server.BaseHTTPRequestHandler):
    repositories: dict[str, tuple[str, Files]]
    served: list[tuple[str, str | None]]
    cut_after: dict[str, int]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        for id, (revision, files) in self.repositories.items():
            if path == f"/api/datasets/{id}/revision/{revision}":
                siblings = [{"rfilename": name, "size": len(c)} for name, c in files.items()]
                self._send(json.dumps({"id": id, "sha": revision, "siblings": siblings}).encode())
                return
            if path == f"/api/datasets/{id}/tree/{revision}":
                self._send(json.dumps([_entry(name, c) for name, c in files.items()]).encode())
                return
            start = f"/datasets/{id}/resolve/{revision}/"
            if path.startswith(start) and path.removeprefix(start) in files:
                self._file(path.removeprefix(start), files, revision, body)
                return
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, name: str, files: Files, revision: str, body: bool) -> None:
        content = files[name]
        wanted = self.headers.get("Range")
        first = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{etag(content)}"')
        self.send_header("X-Repo-Commit", revision)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            self.served.append((name, wanted))
            end = self.cut_after.pop(name, len(content))
            self.wfile.write(content[first:end])
            if end < len(content):
                self.wfile.flush()
                self.connection.close()

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve(
    repositories: dict[str, tuple[str, Files]], cut_after: dict[str, int] | None = None
) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Serve data sets by id; gives the address, and what was sent: (file, range asked for).

    cut_after: the first answer with that file ends after so many bytes.
    """
    served: list[tuple[str, str | None]] = []
    names = {"repositories": repositories, "served": served, "cut_after": dict(cut_after or {})}
    handler = type("Handler", (_Handler,), names)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", served
        server.shutdown()
        thread.join()
