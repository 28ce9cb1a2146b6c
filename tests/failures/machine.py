"""What is done to the machine around a study: a small disk, little memory, a folder that is read-only, a clock.

All but the clock need root, and each says so where it cannot be had.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DAY = 86400.0  # seconds
GROUPS = Path("/sys/fs/cgroup")


class NotHere(Exception):
    """This machine does not allow it; the message says what."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own in a folder, from a file beside it, while the block runs.

    Raises:
        NotHere: If none can be mounted.
    """
    image = folder.with_name(f"{folder.name}.image")
    folder.mkdir(parents=True, exist_ok=True)
    with image.open("ab") as file:
        file.truncate(megabytes * 2**20)
    try:
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(folder))
    except NotHere:
        image.unlink()
        raise
    try:
        shutil.rmtree(folder / "lost+found")
        yield
    finally:
        _run("umount", "--lazy", str(folder))
        image.unlink()


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is free in a folder's file system while the block runs."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue
        yield
    finally:
        ballast.unlink(missing_ok=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody can write in a folder while the block runs: a mount, since modes do not bind root.

    Raises:
        NotHere: If it cannot be mounted.
    """
    _run("mount", "--bind", str(folder), str(folder))
    try:
        _run("mount", "-o", "remount,ro,bind", str(folder))
        yield
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def little_memory(megabytes: int) -> Iterator[Callable[[], None]]:
    """What a new process calls to have, with its children, so much memory and no more, while the block runs.

    Raises:
        NotHere: If there are no control groups that this process may make.
    """
    name = f"tsembed-{uuid.uuid4().hex[:8]}"
    first, second = GROUPS / "memory" / name, GROUPS / name  # of the first and the second version
    group, limit = (first, "memory.limit_in_bytes") if first.parent.is_dir() else (second, "memory.max")
    try:
        group.mkdir()
        (group / limit).write_text(str(megabytes * 2**20))
    except OSError as error:
        raise NotHere(f"no control group for memory: {error}") from None
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        group.rmdir()


def set_clock_back(study_root: Path, preset: str, seconds: float = DAY) -> None:
    """What a study finds after the clock was set back: its files, and the times in its states, are in the future.

    The clock itself belongs to all who use the machine.
    """
    for name in ("runs", "reports", ".snakemake"):
        for path in (study_root / name).rglob("*"):
            if path.is_file() and not path.is_symlink():
                later = path.stat().st_mtime_ns + int(seconds * 1e9)
                os.utime(path, ns=(later, later))
    for path in (study_root / "runs" / preset / "logs").glob("*.json"):
        state, time = json.loads(path.read_text()), path.stat().st_mtime_ns
        state |= {key: state[key] + seconds for key in ("started", "ended") if key in state}
        path.write_text(json.dumps(state) + "\n")
        os.utime(path, ns=(time, time))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise NotHere(f"{command[0]}: {error}") from None
    if done.returncode:
        raise NotHere(f"{' '.join(command[:2])}: {done.stderr.strip()}")
