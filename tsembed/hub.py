"""Files of the Hugging Face hub: fetched whole, checked against the hub's own hash, and each fault as one clear line.

Whatever the hub's client, its HTTP library or the system raise becomes a `HubError` that names repository, revision and
file, says what is wrong, and what to do. A file whose content is not what the hub announced is removed and fetched once
more. The client keeps a download under a temporary name until it is whole and goes on where a transfer was cut, so
nothing half is left under a file's own name.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from .files import FULL

Kind = Literal["model", "dataset"]

# What a model is loaded from: settings, tokenizers and weights in the repository's root.
MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
OLD_WEIGHTS = "pytorch_model*.bin"  # read only where there are no safetensors
NOT_OURS = ("*/*.safetensors", "*/*.bin", "onnx/*", "openvino/*", "coreml/*")
_OTHERWISE = {
    "dataset": "or --data FOLDER takes a mirror",
    "model": "or name a folder with the model's files as the backbone",
}


class HubError(ValueError):
    """A file that the hub does not give; the message is one line with repository, revision, file and remedy."""


def fetch(repository: str, file: str, revision: str | None, kind: Kind = "dataset") -> Path:
    """A file of the hub on this machine, downloaded if need be, whose content has the hash that the hub announced.

    Args:
        repository: "organisation/name".
        file: Its path in the repository.
        revision: Branch, tag or commit.
        kind: Of the repository.

    Raises:
        HubError: If the hub does not give it, or twice gives another content than it announced.
    """
    from huggingface_hub import hf_hub_download

    place = _place(repository, revision, file)
    with explained(repository, revision, file, kind):
        path = Path(hf_hub_download(repository, file, repo_type=kind, revision=revision))
    if is_whole(path):
        return path
    discard(path)
    with explained(repository, revision, file, kind, before="its copy here was damaged and is removed; "):
        path = Path(hf_hub_download(repository, file, repo_type=kind, revision=revision))
    if is_whole(path):
        return path
    discard(path)
    raise HubError(
        f"{place}: downloaded twice, both times with another hash than the hub announces; it is removed. "
        f"Try again later, from another network, {_OTHERWISE[kind]}"
    )


def fetch_model(name: str, revision: str | None = None) -> Path:
    """The folder with a model of the hub: its settings, tokenizer and weights, downloaded if need be and checked.

    Args:
        name: "organisation/model".
        revision: Branch, tag or commit.

    Raises:
        HubError: As `fetch`; also if the repository has no weights that can be read.
    """
    folder = fetch_matching(name, MODEL_FILES, revision, "model", without=NOT_OURS)
    if not list(folder.glob("*.safetensors")):
        fetch_matching(name, [OLD_WEIGHTS], revision, "model", without=NOT_OURS)
        if not list(folder.glob(OLD_WEIGHTS)):
            raise HubError(f"{_place(name, revision, None)}: has no weights, neither *.safetensors nor {OLD_WEIGHTS}")
    return folder


def fetch_matching(
    repository: str,
    patterns: Iterable[str],
    revision: str | None,
    kind: Kind = "dataset",
    *,
    without: Iterable[str] = (),
) -> Path:
    """A folder with at least the files of a repository that match, downloaded if need be and each checked as `fetch`
    does.

    Args:
        repository: "organisation/name".
        patterns: As of `fnmatch`, over paths in the repository.
        revision: Branch, tag or commit.
        kind: Of the repository.
        without: Patterns of files that are left out.

    Raises:
        HubError: As `fetch`.
    """
    from huggingface_hub import snapshot_download

    wanted, unwanted = list(patterns), list(without)
    named = ", ".join(wanted) if kind == "dataset" else None  # of a model all that it is loaded from
    with explained(repository, revision, named, kind):
        folder = Path(
            snapshot_download(
                repository, repo_type=kind, revision=revision, allow_patterns=wanted, ignore_patterns=unwanted
            )
        )
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in wanted) and not is_whole(path):
            discard(path)
            fetch(repository, name, revision, kind)
    return folder


def list_files(repository: str, revision: str | None, kind: Kind = "dataset") -> list[str]:
    """Paths of all files of a repository, sorted; without a network those of its copy in the cache.

    Args:
        repository: "organisation/name".
        revision: Branch, tag or commit.
        kind: Of the repository.

    Raises:
        HubError: If the hub does not say, and there is no copy.
    """
    from huggingface_hub import list_repo_files, snapshot_download

    try:
        with explained(repository, revision, None, kind):
            return sorted(list_repo_files(repository, repo_type=kind, revision=revision))
    except HubError:
        try:
            cached = snapshot_download(
                repository, repo_type=kind, revision=revision, allow_patterns=[], local_files_only=True
            )
        except Exception:  # there is none: the first fault is the one to tell
            cached = None
        if cached is None:
            raise
        folder = Path(cached)
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def is_whole(path: Path) -> bool:
    """Whether a file of the hub's cache has the hash that the hub announced, which is the name that the cache stores it
    under: a sha256, or of small files git's sha1. A file that is no link into the cache cannot be checked.

    Args:
        path: As the hub's client returns it.
    """
    blob = path.resolve()
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return True
    stat = blob.stat()
    return _hash(blob, stat.st_size, stat.st_mtime_ns) == blob.name


@lru_cache(maxsize=10_000)  # a repository of images is asked for set by set, and its files are gigabytes
def _hash(blob: Path, size: int, time: int) -> str:
    """The hash of a file of this size and time, of the kind that its name is."""
    digest = hashlib.sha256() if len(blob.name) == 64 else hashlib.sha1(b"blob %d\0" % size)
    with blob.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def discard(path: Path) -> None:
    """Remove a file from the hub's cache: the link and the content that it points to.

    Args:
        path: As the hub's client returns it.
    """
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@contextmanager
def explained(
    repository: str,
    revision: str | None,
    file: str | None,
    kind: Kind = "dataset",
    *,
    before: str = "",
    otherwise: str | None = None,
) -> Iterator[None]:
    """Turn whatever the hub's client raises into one `HubError`; other errors pass.

    Args:
        repository: "organisation/name".
        revision: What was asked for.
        file: What was asked for; None: the repository.
        kind: Of the repository.
        before: What happened before, the beginning of the explanation.
        otherwise: What else there is to do, the end of the explanation; by default a mirror or a folder.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        reason = _reason(error, repository, kind, otherwise or _OTHERWISE[kind])
        if reason is None:
            raise
        raise HubError(f"{_place(repository, revision, file)}: {before}{reason}") from error


def _place(repository: str, revision: str | None, file: str | None) -> str:
    return f"{repository}@{revision or 'main'}" + (f"/{file}" if file else "")


def _reason(error: BaseException, repository: str, kind: Kind, otherwise: str) -> str | None:
    """What is wrong and what to do, in one line; None where the error is not about the hub."""
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        if (found := _of_one(each, repository, kind, otherwise)) is not None:
            return found
        seen.append(each)
        each = each.__cause__ or each.__context__
    for one in seen:
        if isinstance(one, ConnectionError):  # of `datasets`, which has its own
            return _offline(otherwise) if "OfflineMode" in str(one) else _unreachable(one, otherwise)
    return None


def _of_one(error: BaseException, repository: str, kind: Kind, otherwise: str) -> str | None:
    from huggingface_hub import constants, errors

    if isinstance(error, OSError) and error.errno in FULL:
        cache_folder = Path(constants.HF_HUB_CACHE)
        there = next((p for p in (cache_folder, *cache_folder.parents) if p.is_dir()), Path("."))
        free = shutil.disk_usage(there).free / 1e9
        return f"no space left for it in {cache_folder} ({free:.1f} GB free); free some, or set HF_HOME to another disk"
    if isinstance(error, errors.HFValidationError):
        return "no such folder, and no name of the hub (organisation/name)"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return _offline(otherwise)
    if isinstance(error, errors.GatedRepoError):
        address = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"
        return f"access is restricted; accept its terms at {address}, then `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision; check the pinned commit in the preset"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"there is no such file at this revision; check the pinned commit in the preset, {otherwise}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository, or a private one; check the name, `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.HfHubHTTPError):
        return _of_status(error, otherwise)
    if isinstance(error, errors.HTTPError):
        return _unreachable(error, otherwise)
    if isinstance(error, errors.IncompleteSnapshotError | errors.LocalEntryNotFoundError) and error.__cause__ is None:
        cached = f"it is not in the cache {constants.HF_HUB_CACHE}"
        return f"{cached}; unset HF_HUB_OFFLINE where there is a network, {otherwise}"
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return f"the download ended before the file did; try again, {otherwise}"
    return None


def _offline(otherwise: str) -> str:
    from huggingface_hub import constants

    cached = f"it is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set"
    return f"{cached}; unset it where there is a network, {otherwise}"


def _unreachable(error: BaseException, otherwise: str) -> str:
    from huggingface_hub import constants

    said = " ".join(str(error).split()) or type(error).__name__
    return f"{constants.ENDPOINT} cannot be reached ({said:.200}); check the network and HF_ENDPOINT, {otherwise}"


def _of_status(error: BaseException, otherwise: str) -> str:
    status, headers = error.response.status_code, error.response.headers  # type: ignore[attr-defined]  # HfHubHTTPError
    if status == 429:
        wait = headers.get("Retry-After")
        wait = f"wait {wait} s" if wait else "wait some minutes"
        return f"the hub limits requests (429); {wait} and start again, log in (`hf auth login`), {otherwise}"
    if status in (401, 403):
        return f"the hub refuses the token ({status}); `hf auth login` again or set HF_TOKEN, {otherwise}"
    return f"the hub answers with status {status}; try again later, {otherwise}"


def open_remote(repository: str, file: str, revision: str | None, kind: Kind = "dataset") -> Any:
    """A file of the hub as an open binary file, of which only the parts that are read come over the network, unchecked.

    Args:
        repository: "organisation/name".
        file: Its path in the repository.
        revision: Branch, tag or commit.
        kind: Of the repository.

    Raises:
        HubError: As `fetch`; to explain faults while reading is the caller's (`explained`).
    """
    from huggingface_hub import HfFileSystem, constants

    with explained(repository, revision, file, kind):
        files = HfFileSystem(endpoint=constants.ENDPOINT)
        return files.open(f"{kind}s/{repository}@{revision or 'main'}/{file}", "rb")
