"""A small server that speaks what an upload to the Hugging Face hub needs, for tests of it, on this machine alone.

It takes any repository of `OWNERS` and keeps the files of its commits. Tokens: "writes", "reads" (may not write).
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER = {"name": "ada", "type": "user", "orgs": [{"name": "club", "type": "org"}]}
OWNERS = ("ada", "club")
ROLES = {"writes": "write", "reads": "read"}


class Hub(ThreadingHTTPServer):
    """The server, with what it was told.

    Attributes:
        repositories: "owner/name" -> whether it is private.
        files: "owner/name" -> path -> content.
        asked: Method and path of every request.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Nothing on stderr."""

    def _answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _role(self):
        return ROLES.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def do_GET(self):
        """Who the token is of."""
        self.server.asked.append(f"GET {self.path}")
        if self.path != "/api/whoami-v2":
            self._answer({"error": "not here"}, 404)
        elif (role := self._role()) is None:
            self._answer({"error": "Invalid username or password."}, 401)
        else:
            self._answer(USER | {"auth": {"type": "access_token", "accessToken": {"displayName": "t", "role": role}}})

    def do_POST(self):
        """A repository, what is to be uploaded how, and a commit."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"POST {self.path}")
        if self._role() != "write":
            return self._answer({"error": "not allowed"}, 403)
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        repository, _, action = self.path.removeprefix("/api/models/").rpartition("/main")[0].rpartition("/")
        if repository not in self.server.repositories:
            return self._answer({"error": "Repository not found"}, 404)
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.files.setdefault(repository, {})[line["value"]["path"]] = content
        return self._answer(
            {"success": True, "commitUrl": f"{self.server.url}/{repository}/commit/1", "commitOid": "1"}
        )

    def _create(self, asked):
        repository = f"{asked.get('organization') or USER['name']}/{asked['name']}"
        status = 409 if repository in self.server.repositories else 200
        self.server.repositories.setdefault(repository, asked.get("visibility") == "private")
        self._answer({"url": f"{self.server.url}/{repository}", "id": repository}, status)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A hub without repositories, as long as the context lasts."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
