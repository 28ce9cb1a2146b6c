"""Why nothing can be written where a study writes: a disk that is full, or one that is read-only."""

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from study import paths
from tsembed.files import FULL

LITTLE = 2**20  # bytes; with less than this nothing of a study can be written
FULL_TEXT = re.compile(r"No space left on device|Disk quota exceeded|no space left", re.IGNORECASE)
READ_ONLY_TEXT = re.compile(r"Read-only file system", re.IGNORECASE)
FREE_SOME = "free some and call again: what is complete stays"


def faults(outputs: Iterable[str]) -> list[str]:
    """A line per folder that cannot be written; where all can be by now, what the failed nodes said of it.

    Args:
        outputs: What the failed nodes wrote in their logs. A log that could not be written says nothing.
    """
    found = [line for folder in (paths.RUNS, paths.REPORTS, paths.ROOT / ".cache") if (line := _fault_of(folder))]
    text = "\n".join(outputs)
    if not found and FULL_TEXT.search(text):
        found.append(f"no space left on a disk, as the log says; {FREE_SOME}")
    if not found and READ_ONLY_TEXT.search(text):
        found.append("a folder is on a read-only file system, as the log says")
    return found


def line_of(error: OSError) -> str | None:
    """The line about an error of the system; None where it is none about a disk."""
    what = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    if error.errno in FULL:
        return f"no space left ({what}); {FREE_SOME}"
    return f"nothing can be written ({what})" if error.errno == errno.EROFS else None


def _fault_of(folder: Path) -> str | None:
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    disk = os.statvfs(there)
    if disk.f_flag & os.ST_RDONLY:
        return f"{there} is on a read-only file system: nothing can be written there"
    if disk.f_bavail * disk.f_frsize < LITTLE or (disk.f_files and not disk.f_favail):
        return f"no space left in {there}; {FREE_SOME}"
    return None
