"""A hub on this machine: folders served over the Hugging Face hub's HTTP API, with faults that a test asks for.

    with HubServer(root) as hub:
        hub.break_next("GET .*/resolve/", "cut", bytes=1000)
        … HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET=1 …

`root/{models,datasets}/ORGANISATION/NAME/` are the repositories, each at one commit: `commits["datasets/org/name"]`, or
the sha1 of its name. That commit and `main` answer, any other revision is the hub's 404.
"""

import hashlib
import json
import re
import threading
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 1000  # bytes from which a file is announced by its sha256, as the hub's large files are
PAGE = 1000  # entries of a listing per answer


def turn_client_to(url: str, cache: Path, monkeypatch) -> None:
    """Let the hub's client of this process ask another address, with a cache of its own and no pause before a retry.

    A process of its own takes HF_ENDPOINT, HF_HOME and HF_HUB_DISABLE_XET from its environment instead.

    Args:
        url: In place of the hub's.
        cache: In place of the user's.
        monkeypatch: Of the test.
    """
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hf_api.api, "endpoint", url)  # of the functions that are no methods
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("time.sleep", lambda seconds: None)


class Repository(NamedTuple):
    kind: str  # "models" or "datasets"
    name: str
    folder: Path
    commit: str


class Content(NamedTuple):
    """A file as the hub describes it."""

    path: str
    size: int
    sha1: str  # git's, of the blob
    sha256: str

    @property
    def etag(self) -> str:
        return self.sha256 if self.size >= LFS_FROM else self.sha1

    @property
    def entry(self) -> dict:
        entry = {"type": "file", "path": self.path, "size": self.size, "oid": self.sha1}
        if self.size >= LFS_FROM:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 130}
        return entry


class HubServer:
    """Serves `root` while the block runs.

    Attributes:
        commits: "datasets/org/name" -> its commit.
        requests: "METHOD /path bytes=…" of every request, in order.
    """

    def __init__(self, root: Path):
        self.root, self.commits = root, {}
        self.requests: list[str] = []
        self._faults: list[dict] = []
        self._lock = threading.Lock()
        self._contents: dict[tuple[Path, int, int], tuple[str, str]] = {}

    @cached_property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def break_next(self, pattern: str, kind: str, *, count: int | None = 1, **about) -> None:
        """Let the next `count` requests that match fail (None: all).

        Args:
            pattern: Regular expression, searched in "METHOD /path".
            kind: "status" (with `status`, and `code`, `headers`), "cut" (the connection ends after `bytes` of the
                body), or "corrupt" (right length, wrong bytes).
            count: How often.
            about: Of the kind.
        """
        self._faults.append({"pattern": pattern, "kind": kind, "left": count, **about})

    def repair(self) -> None:
        """No more faults."""
        self._faults.clear()

    def fault(self, line: str, *kinds: str) -> dict | None:
        with self._lock:
            for fault in self._faults:
                if fault["kind"] in kinds and fault["left"] != 0 and re.search(fault["pattern"], line):
                    if fault["left"] is not None:
                        fault["left"] -= 1
                    return fault
        return None

    def note(self, line: str) -> None:
        with self._lock:
            self.requests.append(line)

    def commit_of(self, kind: str, name: str) -> str:
        return self.commits.get(f"{kind}/{name}") or hashlib.sha1(name.encode()).hexdigest()

    def content(self, repository: Repository, path: Path) -> Content:
        """Hashes are kept until the file changes."""
        stat = path.stat()
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in self._contents:
            data = path.read_bytes()
            sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            self._contents[key] = (sha1, hashlib.sha256(data).hexdigest())
        return Content(path.relative_to(repository.folder).as_posix(), stat.st_size, *self._contents[key])


class _Answered(Exception):
    """The request has had its answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_):
        """Nothing on stderr."""

    @property
    def _line(self) -> str:
        return f"{self.command} {self.path}"

    def do_HEAD(self):
        self._serve({})

    def do_GET(self):
        self._serve({})

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        is_json = "json" in (self.headers.get("Content-Type") or "")
        self._serve(json.loads(sent) if is_json else parse_qs(sent))

    def _serve(self, sent: dict) -> None:
        self.hub.note(
            " ".join(filter(None, (self._line, self.headers.get("Range"), self.headers.get("Authorization"))))
        )
        try:
            if fault := self.hub.fault(self._line, "status"):
                message = fault.get("message", f"made to answer {fault['status']}")
                self._error(fault["status"], fault.get("code", ""), message, fault.get("headers", {}))
            self._route(urlsplit(self.path), sent)
            self._error(404, "", "no such route")
        except (_Answered, BrokenPipeError, ConnectionResetError):
            pass

    def _route(self, url, sent: dict) -> None:
        api = r"/api/(models|datasets)/([^/]+/[^/]+)"
        if found := re.fullmatch(rf"{api}(?:/revision/([^/]+))?", url.path):
            self._info(self._repository(found[1], found[2], found[3]))
        if found := re.fullmatch(rf"{api}/refs", url.path):
            repository = self._repository(found[1], found[2], None)
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commit}
            self._json({"branches": [main], "converts": [], "tags": []})
        if found := re.fullmatch(rf"{api}/tree/([^/]+)(?:/(.*))?", url.path):
            self._tree(self._repository(found[1], found[2], found[3]), unquote(found[4] or ""), url)
        if found := re.fullmatch(rf"{api}/paths-info/([^/]+)", url.path):
            self._paths(self._repository(found[1], found[2], found[3]), sent.get("paths", []))
        if found := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path):
            self._file(self._repository(found[1] or "models", found[2], found[3]), unquote(found[4]))

    def _repository(self, kind: str, name: str, revision: str | None) -> Repository:
        folder = self.hub.root / kind / name
        if not folder.is_dir():  # the hub does not say whether there is none or a private one
            self._error(401, "RepoNotFound", "Repository not found")
        commit = self.hub.commit_of(kind, name)
        if revision is not None and unquote(revision) not in ("main", commit):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return Repository(kind, name, folder, commit)

    def _info(self, repository: Repository) -> None:
        names = [
            p.relative_to(repository.folder).as_posix() for p in sorted(repository.folder.rglob("*")) if p.is_file()
        ]
        about = {"id": repository.name, "sha": repository.commit, "private": False, "gated": False, "disabled": False}
        about |= {"tags": [], "downloads": 0, "likes": 0, "lastModified": "2024-01-01T00:00:00.000Z"}
        self._json(about | {"siblings": [{"rfilename": name} for name in names]})

    def _tree(self, repository: Repository, under: str, url) -> None:
        base = repository.folder / under
        if not base.is_dir():
            self._error(404, "EntryNotFound", f"{under} does not exist")
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        deep = asked.get("recursive", "").lower() in ("true", "1")
        entries = [self._entry(repository, path) for path in sorted(base.rglob("*") if deep else base.iterdir())]
        start = int(asked.get("cursor", 0))
        headers = {}
        if start + PAGE < len(entries):
            rest = "".join(f"{key}={value}&" for key, value in asked.items() if key != "cursor")
            headers["Link"] = f'<{self.hub.url}{url.path}?{rest}cursor={start + PAGE}>; rel="next"'
        self._json(entries[start : start + PAGE], headers)

    def _paths(self, repository: Repository, wanted: list[str] | str) -> None:
        wanted = [wanted] if isinstance(wanted, str) else wanted
        there = [path for path in (repository.folder / name for name in wanted) if path.exists()]
        self._json([self._entry(repository, path) for path in there])

    def _entry(self, repository: Repository, path: Path) -> dict:
        if path.is_file():
            return self.hub.content(repository, path).entry
        name = path.relative_to(repository.folder).as_posix()
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}

    def _file(self, repository: Repository, name: str) -> None:
        path = repository.folder / name
        if not path.is_file():
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})
        content = self.hub.content(repository, path)
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{content.etag}"', "Accept-Ranges": "bytes"}
        if content.size >= LFS_FROM:
            headers |= {"X-Linked-Size": str(content.size), "X-Linked-ETag": f'"{content.etag}"'}
        first, end, status = 0, content.size, 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first = int(asked[1])
            end = min(end, int(asked[2]) + 1) if asked[2] else end
            if first >= content.size:
                self._send(416, b"", {"Content-Range": f"bytes */{content.size}"})
            status = 206
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{content.size}"
        body = path.read_bytes()[first:end]
        if self.command == "GET":
            if self.hub.fault(self._line, "corrupt"):
                body = bytes(byte ^ 0x55 for byte in body)
            if cut := self.hub.fault(self._line, "cut"):
                self._begin(status, len(body), headers)
                self.wfile.write(body[: cut["bytes"]])
                self.close_connection = True
                raise _Answered
        self._send(status, body, headers)

    def _error(self, status: int, code: str, message: str, headers: dict | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self._send(status, body, {"X-Error-Code": code, "X-Error-Message": message} | (headers or {}))

    def _json(self, content, headers: dict | None = None) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, status: int, body: bytes, headers: dict) -> None:
        self._begin(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)
        raise _Answered

    def _begin(self, status: int, length: int, headers: dict) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/octet-stream", "Content-Length": length} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
