"""Files and folders that are whole or not there at all. Imports nothing but the standard library.

What is written stands under a temporary name until it is whole; a rename gives it its own. So a kill leaves the old
content, or none, and never half of the new.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says when a disk, or a share of it, is full


def write_text(path: Path, text: str) -> None:
    """Write a file by rename, and its folder if need be.

    Args:
        path: Replaced if it exists.
        text: Written as UTF-8.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by rename, and its folder if need be.

    Args:
        path: Replaced if it exists.
        content: All of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # several processes may write the same file
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def write_folder(target: Path) -> Iterator[Path]:
    """An empty folder to write into, which gets the name `target` at the end; nothing stays after an exception.

    Args:
        target: Replaced if it exists.
    """
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        move_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def move_folder(partial: Path, target: Path) -> None:
    """Give a whole folder its name; what stood there before is removed after that.

    Args:
        partial: On the same file system as `target`.
        target: A folder, or nothing yet.
    """
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
