"""The pictures of an images.zip, or of a copy of a repository."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..inputs import decode
from .archives import Archive, is_inside

MOST_KEPT = 2**27  # bytes of pictures that are read once though they are asked for several times


class ImageFiles:
    """The pictures of a copy of a repository: files, or members of its zip files.

    Raises:
        ValueError: If a zip file breaks a rule of `Archive`; names the file.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._member: dict[str, Archive] = {}
        for path in sorted(folder.rglob("*.zip")):
            try:
                archive = Archive(path)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            self._member |= dict.fromkeys(archive, archive)

    def find(self, path: str) -> tuple[Archive | None, str] | None:
        """Zip file, or None for a plain file, and name in it; None if there is no such picture in the folder."""
        bare = path.removeprefix("images/")
        for name in (path, bare, f"images/{bare}"):
            if name in self._member:
                return self._member[name], name
            if is_inside(name) and (self.folder / name).is_file():
                return None, name
        return None

    def read(self, path: str) -> bytes | None:
        """The encoded picture; None for no path.

        Raises:
            ValueError: With zip file and picture, if the zip file is damaged there.
        """
        if not path:
            return None
        archive, name = self.find(path) or (None, path)
        if archive is None:
            return (self.folder / name).read_bytes()
        try:
            return archive.read(name)
        except ValueError as error:
            raise ValueError(f"{archive.path}: {name}: {error}") from None


class ImageZip:
    """The files of a zip file, read when they are needed; those read last are kept, up to `MOST_KEPT` bytes.

    Raises:
        ValueError: If the path is no zip file, or one that breaks a rule of `Archive`.
    """

    def __init__(self, path: Path):
        self.path = path
        self._archive = Archive(path)
        self._read: dict[str, bytes] = {}  # the one that was asked for last stands last
        self._bytes = 0
        self.files: dict[int, str] = {}  # hash of a picture -> where it comes from

    def __contains__(self, name: str) -> bool:
        return name in self._archive

    def inside_a_folder(self, name: str) -> str | None:
        """The name in the zip file that has this one within a folder: who zips a folder gets its name too."""
        return next((other for other in self._archive if other.endswith(f"/{name}")), None)

    def content(self, name: str) -> tuple[int, int]:
        """Checksum and size: those of equal pictures are equal."""
        return self._archive.checksum(name)

    def read(self, name: str) -> bytes:
        """The encoded picture.

        Raises:
            ValueError: With the file, if the zip file is damaged there.
        """
        if name in self._read:
            self._read[name] = self._read.pop(name)
            return self._read[name]
        try:
            data = self._archive.read(name)
        except ValueError as error:
            raise ValueError(f"{self.place(name)}: {error}") from None
        self.files.setdefault(hash(data), self.place(name))
        self._read[name] = data
        self._bytes += len(data)
        while self._bytes > MOST_KEPT and len(self._read) > 1:
            self._bytes -= len(self._read.pop(next(iter(self._read))))
        return data

    def pixels(self, name: str, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """The picture in RGB, at (width, height) if given.

        Raises:
            ValueError: With the file, if it is no readable picture.
        """
        from PIL import Image

        try:
            picture = decode(self.read(name))
        except ValueError as error:
            raise ValueError(f"{self.place(name)}: {error}") from None
        return np.array(picture if size is None else picture.resize(size, Image.Resampling.BOX))

    def place(self, name: str) -> str:
        """Folder, zip file and name, for messages."""
        return f"{self.path.parent.name}/{self.path.name}: {name}"
