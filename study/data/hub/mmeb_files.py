"""The files of MMEB's two repositories: what each set needs of them, whether it is there, and a copy of it.

The lists of files are read before the first of them is downloaded: the pictures of a single set are up to 13 gigabytes,
and a set that lacks something would stop the preparation behind those of the others.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tsembed import hub

from ...presets import Data

REPOSITORIES = {"train": "TIGER-Lab/MMEB-train", "eval": "TIGER-Lab/MMEB-eval"}  # `data.revision` pins the first
EVAL_REVISION = "2f069730be515ea60778413777816b53e2d2a697"
SPLITS = {"train": "original", "eval": "test"}


class SetFiles(NamedTuple):
    """What a set needs of its repository.

    Attributes:
        rows: Pattern of the files of its split.
        archive: Zip file of its pictures.
    """

    part: str
    name: str
    rows: str
    archive: str


def files_of(part: str, name: str) -> SetFiles:
    """What a set needs: the files of its split, and the zip file of its pictures.

    >>> files_of("train", "CIRR")[2:]
    ('CIRR/original-*.parquet', 'images_zip/CIRR.zip')
    """
    archive = f"images_zip/{name}.zip" if part == "train" else "images.zip"
    return SetFiles(part, name, f"{name}/{SPLITS[part]}-*.parquet", archive)


def check(needed: Iterable[SetFiles], data: Data) -> None:
    """Go on if no set lacks a file; of a mirror only the rows: pictures may lie anywhere, and are looked up by name.

    Raises:
        ValueError: With a line for each set that lacks something: the set, what it lacks, repository and revision.
    """
    names = {part: _names(part, data) for part in REPOSITORIES}
    lines = []
    for files in needed:
        wanted = [files.rows] if data.path is not None else [files.rows, files.archive]
        if absent := [pattern for pattern in wanted if not any(fnmatch(name, pattern) for name in names[files.part])]:
            lines.append(f"  {files.part} {files.name}: no {', no '.join(absent)} in {_place(files.part, data)}")
    if lines:
        raise ValueError("files of MMEB are missing, so nothing was downloaded:\n" + "\n".join(lines))


def copy_of(part: str, patterns: list[str], data: Data) -> Path:
    """A copy of the repository with at least the files of the patterns: the mirror's, or the cache of the hub.

    Raises:
        ValueError: If there is no such mirror, or if the hub cannot be reached.
    """
    if data.path is not None:
        return _mirror(part, data.path)
    return hub.fetch_matching(REPOSITORIES[part], patterns, revision_of(part, data))


def revision_of(part: str, data: Data) -> str | None:
    """The commit that a part is read at; of a mirror None where the settings name none."""
    return data.revision if part == "train" else EVAL_REVISION


def _names(part: str, data: Data) -> list[str]:
    """The files of the repository; without a network those of the copy in the hub's cache."""
    if data.path is not None:
        return list(_files(_mirror(part, data.path)))
    return hub.list_files(REPOSITORIES[part], revision_of(part, data))


def _files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _mirror(part: str, path: Path) -> Path:
    folders = {each: path / repository.partition("/")[2] for each, repository in REPOSITORIES.items()}
    if not folders[part].is_dir():
        names = " and ".join(folder.name for folder in folders.values())
        raise ValueError(f"{folders[part]} is no folder; a mirror of MMEB has {names}")
    return folders[part]


def _place(part: str, data: Data) -> str:
    return f"{REPOSITORIES[part]}@{revision_of(part, data)}" if data.path is None else str(_mirror(part, data.path))
