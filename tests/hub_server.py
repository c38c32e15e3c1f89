"""A Hugging Face Hub on loopback, in memory, for clients that are not told so.

It answers what ``huggingface_hub`` and ``transformers`` ask of the real one when they create, write, read and list
repositories: with its status codes, its headers and its redirects. Run them in a process of their own, with
`HubServer.environment`. Large files travel by LFS, in one request or in parts; the storage they go to and come from
answers under another host name, as the real one does, and takes no token.

    with HubServer(tokens={"hf_writer": "user"}) as hub:
        hub.add("google-bert/bert-base-cased", folder)
        subprocess.run(command, env=hub.environment(home, token="hf_writer"))
        hub.repos["user/model"].files()["config.json"].content
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from hub_repos import LFS_SUFFIXES, Commit, File, RefusalError, Repo

DATE = "2026-01-01T00:00:00.000Z"


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


class Request(NamedTuple):
    """What was asked for; the path is that of the URL, without the query."""

    method: str
    path: str
    status: int


class HubServer:
    """The server; listens while its ``with`` block lasts.

    Args:
        tokens: The user that each token belongs to. A user may write, and read what is private, below their own name.
        part_size: Above this number of bytes, a large file is uploaded in parts.
    """

    def __init__(self, tokens: dict[str, str] | None = None, part_size: int = 5_000_000) -> None:
        self.tokens, self.part_size = tokens or {}, part_size
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}  # what LFS stores, by its SHA-256
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        hub = self

        class Handler(HubHandler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.storage = f"http://localhost:{self.server.server_port}"  # to a client, another host

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: os.PathLike[str] | str, token: str | None = None) -> dict[str, str]:
        """The environment of a process whose Hub this is, with all that it downloads in the folder ``home``.

        Clients that have ``hf_xet`` never ask for LFS unless they are told to do without it.
        """
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
        own = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
        return {**kept, **own, **({"HF_TOKEN": token} if token else {})}

    def create(self, name: str, is_private: bool = False, is_gated: bool = False) -> Repo:
        """Make a repository, with the first commit that the real Hub makes."""
        self.repos[name] = repo = Repo(name, is_private, is_gated)
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
        repo.commit("initial commit", {".gitattributes": File(attributes.encode())})
        return repo

    def add(self, name: str, folder: os.PathLike[str] | str, *, is_private: bool = False) -> str:
        """Put all files of a folder into a repository, which is made if need be; returns the commit's id."""
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        files: dict[str, File | None] = {
            path.relative_to(folder).as_posix(): File(path.read_bytes(), path.name.endswith(LFS_SUFFIXES))
            for path in paths
        }
        with self.lock:
            repo = self.repos.get(name) or self.create(name, is_private)
            self.objects |= {file.sha256: file.content for file in files.values() if file and file.is_lfs}
            return repo.commit("Upload folder", files).id


class HubHandler(BaseHTTPRequestHandler):
    """Answers one connection. Methods are named after the HTTP method and what is asked for, see `route`."""

    server_hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self) -> None:
        hub, url = self.server_hub, urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.body = self.read_body()
        try:
            with hub.lock:
                reply = self.route(url.path)
        except RefusalError as refusal:
            error = json.dumps({"error": refusal.message}).encode()
            reply = Reply(refusal.status, error, {"Content-Type": "application/json", **refusal.headers})
        if not isinstance(reply, Reply):
            reply = Reply(200, json.dumps(reply).encode(), {"Content-Type": "application/json"})
        hub.requests.append(Request(self.command, unquote(url.path), reply.status))
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def route(self, path: str) -> Any:
        if match := re.fullmatch(r"/storage/(\w+)(?:/(\d+))?", path):
            return self.store(*match.groups())
        self.user = self.find_user()
        if path in ("/api/whoami-v2", "/api/validate-yaml", "/api/repos/create"):
            return self.call(path.removeprefix("/api/").replace("-v2", ""))
        if match := re.fullmatch(r"/(.+)\.git/info/lfs/objects/(batch|verify)", path):
            return self.call(f"lfs_{match[2]}", self.find_repo(match[1], writes=True))
        if match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            return self.resolve(*(unquote(part) for part in match.groups()))
        if match := re.fullmatch(r"/api/(models|datasets|spaces)/([^/]+(?:/[^/]+)?)(?:/([^/]+)(?:/(.+))?)?", path):
            kind, name, action, rest = match.groups()
            writes = self.command != "GET" and action != "paths-info"
            repo = self.find_repo(name if kind == "models" else f"{kind}/{name}", writes)
            return self.call(f"repo_{action or 'revision'}", repo, *([rest] if rest else []))
        raise RefusalError(404, f"Sorry, we can't find the page you are looking for: {path}")

    def call(self, action: str, *arguments: Any) -> Any:
        name = f"{self.command.lower()}_{re.sub(r'[-/]', '_', action)}"
        if not hasattr(self, name):
            raise RefusalError(404, f"this server has no answer to {self.command} {self.path}")
        return getattr(self, name)(*arguments)

    def find_user(self) -> str | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        user = self.server_hub.tokens.get(header.removeprefix("Bearer "))
        if user is None:
            raise RefusalError(401, "Invalid credentials in Authorization header")
        return user

    def find_repo(self, name: str, writes: bool = False) -> Repo:
        repo = self.server_hub.repos.get(name)
        if repo is None or (repo.is_private and self.user != repo.owner):
            raise RefusalError(404 if self.user else 401, "Repository not found", "RepoNotFound")
        if writes and self.user is None:
            raise RefusalError(401, "Invalid username or password.")
        if writes and self.user != repo.owner:
            raise RefusalError(403, "You have read access but not the required permissions for this operation")
        return repo

    def get_whoami(self) -> Any:
        if self.user is None:
            raise RefusalError(401, "Invalid username or password.")
        token = {"displayName": "token", "role": "write"}
        return {"type": "user", "id": self.user, "name": self.user, "orgs": [], "auth": {"accessToken": token}}

    def post_validate_yaml(self) -> Any:
        has_metadata = re.match(r"---\n.*?\n---\n", json.loads(self.body)["content"], re.DOTALL)
        warning = {"message": "empty or missing yaml metadata in repo card"}
        return {"errors": [], "warnings": [] if has_metadata else [warning]}

    def post_repos_create(self) -> Any:
        hub, wish = self.server_hub, json.loads(self.body)
        if self.user is None:
            raise RefusalError(401, "Invalid username or password.")
        owner = wish.get("organization") or self.user
        prefix = {"dataset": "datasets/", "space": "spaces/"}.get(wish.get("type") or "model", "")
        name = f"{prefix}{owner}/{wish['name']}"
        if owner != self.user:
            raise RefusalError(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        if name in hub.repos:
            reply = {"error": "You already created this model repo", "url": f"{hub.endpoint}/{name}"}
            return Reply(409, json.dumps(reply).encode(), {"Content-Type": "application/json"})
        hub.create(name, is_private=bool(wish.get("private") or wish.get("visibility") == "private"))
        return {"url": f"{hub.endpoint}/{name}", "name": name, "id": name}

    def get_repo_revision(self, repo: Repo, revision: str = "main") -> Any:
        commit = repo.at(unquote(revision))
        card = commit.files.get("README.md", File(b"")).content.decode()
        data = dict(re.findall(r"^(library_name|pipeline_tag): (\S+)$", card, re.MULTILINE))
        tags = re.search(r"^tags:\n((?: *- .+\n)+)", card, re.MULTILINE)
        return {
            **data,
            **{"_id": repo.name, "id": repo.name, "modelId": repo.name, "author": repo.owner, "sha": commit.id},
            **{"private": repo.is_private, "gated": "auto" if repo.is_gated else False, "disabled": False},
            **{"lastModified": DATE, "createdAt": DATE, "downloads": 0, "likes": 0, "cardData": data},
            "tags": [tag.strip(" -") for tag in tags[1].splitlines()] if tags else [],
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }

    def get_repo_tree(self, repo: Repo, rest: str = "main") -> Any:
        revision, _, folder = (unquote(part) for part in rest.partition("/"))
        files, prefix = repo.at(revision).files, f"{folder}/" if folder else ""
        below = {path.removeprefix(prefix): path for path in sorted(files) if path.startswith(prefix)}
        if not below:
            raise RefusalError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        is_recursive = self.query.get("recursive", "").lower() in ("true", "1")
        listed = [files[path].describe(path) for rest, path in below.items() if is_recursive or "/" not in rest]
        folders = sorted({prefix + rest.split("/")[0] for rest in below if "/" in rest})
        return [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders] + listed

    def post_repo_paths_info(self, repo: Repo, revision: str = "main") -> Any:
        files, wanted = repo.at(unquote(revision)).files, parse_qs(self.body.decode()).get("paths", [])
        return [files[path].describe(path) for path in wanted if path in files]

    def post_repo_preupload(self, repo: Repo, revision: str = "main") -> Any:
        def plan(path: str, size: int) -> dict[str, Any]:
            mode = "lfs" if path.endswith(LFS_SUFFIXES) or size > 10_000_000 else "regular"
            there = known.get(path)
            oid = {"oid": there.sha256 if there.is_lfs else there.oid} if there else {}
            return {"path": path, "uploadMode": mode, "shouldIgnore": False, **oid}

        known = repo.at(unquote(revision)).files
        return {"files": [plan(file["path"], file["size"]) for file in json.loads(self.body)["files"]]}

    def post_repo_commit(self, repo: Repo, revision: str = "main") -> Any:
        hub, branch, changes = self.server_hub, unquote(revision), {}
        if branch not in repo.branches:
            raise RefusalError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                changes[value["path"]] = File(base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile" and value["oid"] in hub.objects:
                changes[value["path"]] = File(hub.objects[value["oid"]], is_lfs=True)
            elif operation["key"] in ("deletedFile", "deletedFolder"):
                changes[value["path"]] = None
            else:
                raise RefusalError(400, f"can't commit {operation['key']} {value['path']}: was it uploaded?")
        if header["value"].get("parentCommit", repo.branches[branch].id) != repo.branches[branch].id:
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        made = repo.commit(header["value"]["summary"], changes, branch)
        return {"success": True, "commitOid": made.id, "commitUrl": f"{hub.endpoint}/{repo.name}/commit/{made.id}"}

    def get_repo_refs(self, repo: Repo) -> Any:
        def listed(refs: dict[str, Commit], kind: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": at.id} for name, at in refs.items()]

        return {"branches": listed(repo.branches, "heads"), "tags": listed(repo.tags, "tags"), "converts": []}

    def post_repo_branch(self, repo: Repo, name: str) -> Any:
        return self.make_ref(repo, repo.branches, unquote(name), json.loads(self.body).get("startingPoint") or "main")

    def post_repo_tag(self, repo: Repo, revision: str) -> Any:
        return self.make_ref(repo, repo.tags, json.loads(self.body)["tag"], unquote(revision))

    def make_ref(self, repo: Repo, refs: dict[str, Commit], name: str, revision: str) -> Any:
        if name in refs:
            raise RefusalError(409, f"Reference already exists: {name}")
        refs[name] = repo.at(revision)
        return {}

    def post_lfs_batch(self, repo: Repo) -> Any:
        """Say where large files go, and nothing of those that are there already."""
        hub, planned = self.server_hub, []
        for wanted in json.loads(self.body)["objects"]:
            address, size, header = f"{hub.storage}/storage/{wanted['oid']}", wanted["size"], {}
            if size > hub.part_size:
                header = {str(part): f"{address}/{part}" for part in range(1, math.ceil(size / hub.part_size) + 1)}
                header["chunk_size"] = str(hub.part_size)
            verify = {"href": f"{hub.endpoint}/{repo.name}.git/info/lfs/objects/verify"}
            actions = {"actions": {"upload": {"href": address, "header": header}, "verify": verify}}
            planned.append({**wanted, **({} if wanted["oid"] in hub.objects else actions)})
        return {"transfer": "basic", "objects": planned}

    def post_lfs_verify(self, repo: Repo) -> Any:
        wanted = json.loads(self.body)
        if len(self.server_hub.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise RefusalError(404, f"object {wanted['oid']} of {repo.name} did not arrive")
        return {}

    def store(self, oid: str, part: str | None) -> Reply:
        """The storage of large files: its addresses are secrets, and it refuses tokens."""
        hub = self.server_hub
        if "Authorization" in self.headers:
            raise RefusalError(400, "Only one auth mechanism allowed")
        if self.command in ("GET", "HEAD"):
            return Reply(200, hub.objects[oid], {"Content-Type": "application/octet-stream"})
        if part is not None:
            hub.parts.setdefault(oid, {})[int(part)] = self.body
            return Reply(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
        content = self.body
        if self.command == "POST":  # all parts are there
            parts = hub.parts.pop(oid)
            content = b"".join(parts[entry["partNumber"]] for entry in json.loads(self.body)["parts"])
        if hashlib.sha256(content).hexdigest() != oid:
            raise RefusalError(400, f"The content is not that of {oid}")
        hub.objects[oid] = content
        return Reply(200, b"", {})

    def resolve(self, name: str, revision: str, path: str) -> Reply:
        """A file, or for a large one the address of its storage."""
        repo = self.find_repo(name)
        commit = repo.at(revision)
        if repo.is_gated and self.user != repo.owner:
            raise RefusalError(403 if self.user else 401, f"Access to model {name} is restricted.", "GatedRepo")
        headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "none"}
        if path not in commit.files:
            raise RefusalError(404, "Entry not found", "EntryNotFound", **headers)
        file = commit.files[path]
        if not file.is_lfs:
            return Reply(200, file.content, {"ETag": f'"{file.oid}"', "Content-Type": "text/plain", **headers})
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
        return Reply(302, b"", {"Location": f"{self.server_hub.storage}/storage/{file.sha256}", **headers})
