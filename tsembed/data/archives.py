"""Zip and gzip files of other people: what is in them is looked at before anything is unpacked. Standard library only.

Nothing is ever written to where a member's name points: members are read into memory, one at a time.
"""

import gzip
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 2**28  # of one member, unpacked: a picture of `inputs.MOST_PIXELS` in RGB has 192 MB
MOST_FAULTS = 10  # of an archive that are named
BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)  # what reading a damaged or cut gzip file raises
_POINTER = b"version https://git-lfs.github.com/spec/"
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member
_BESIDE = ("__MACOSX/",)  # folders that macOS adds, with a file of attributes for each file


def check_no_pointer(path: Path) -> None:
    """Go on if the file is itself, and not the few lines that Git LFS leaves in place of a file.

    Raises:
        ValueError: If it is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError("a pointer of Git LFS and not the file itself; `git lfs pull` fetches it")


class Archive:
    """The members of a zip file by name: in Unicode's form NFC, with slashes, whatever made the zip file.

    Raises:
        ValueError: If the path is no whole zip file. With the members that break a rule: a path that is absolute or
            leaves the folder, a link, an encrypted member, one larger than `MOST_BYTES`, a name that stands twice.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            check_no_pointer(path)
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"not a zip file, or not a whole one ({error})") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        if faults := list(self._check()):
            more = [f"{len(faults) - MOST_FAULTS:,} more"] if len(faults) > MOST_FAULTS else []
            raise ValueError("; ".join([*faults[:MOST_FAULTS], *more]))

    def _check(self) -> Iterator[str]:
        """The rules that members break, each with its name; fills `_members`."""
        for info in self._zip.infolist():
            name = name_of(info)
            if name.endswith("/") or name.startswith(_BESIDE):
                continue
            if not is_inside(name):
                yield f"{name!r} is a path that leaves the folder"
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield f"{name!r} is a link"
            elif info.flag_bits & _ENCRYPTED:
                yield f"{name!r} is encrypted"
            elif info.file_size > MOST_BYTES:
                yield f"{name!r} would have {info.file_size:,} bytes unpacked; {MOST_BYTES:,} are allowed"
            elif name in self._members:
                yield f"{name!r} stands in it twice"
            else:
                self._members[name] = info

    def __contains__(self, name: str) -> bool:
        return composed(name) in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def checksum(self, name: str) -> tuple[int, int]:
        """CRC and size of a member: those of equal ones are equal."""
        info = self._members[composed(name)]
        return info.CRC, info.file_size

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            ValueError: If the zip file is damaged there, or packed in a way that is not known.
        """
        try:
            return self._zip.read(self._members[composed(name)])
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"not readable ({error})") from None


def name_of(info: zipfile.ZipInfo) -> str:
    """The name of a member as whoever packed it saw it: in form NFC, with slashes.

    Without the flag for UTF-8 a name is one of code page 437 by the standard, and yet in UTF-8 by most programs.
    """
    name = info.filename
    if not info.flag_bits & _UTF8 and not name.isascii():
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            pass
    return composed(name)


def composed(name: str) -> str:
    """A name in Unicode's form NFC, with slashes.

    >>> composed("cafe\\u0301\\\\1.png") == "caf\\u00e9/1.png"
    True
    """
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def is_inside(name: str) -> bool:
    """Whether a path with slashes stays in the folder that it is relative to.

    >>> ", ".join(name for name in ("a/b.png", "/a", "a/../../b", "C:/a", "a..b") if is_inside(name))
    'a/b.png, a..b'
    """
    return not name.startswith("/") and name[1:2] != ":" and ".." not in name.split("/")
