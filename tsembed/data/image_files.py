"""The pictures of an images.zip, and a row of the JSONL file beside it."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..inputs import decode


class ImageFiles:
    """The pictures of a copy of a repository: files, or members of its zip files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._zips = [zipfile.ZipFile(path) for path in sorted(folder.rglob("*.zip"))]
        self._member = {name: archive for archive in self._zips for name in archive.namelist()}

    def find(self, path: str) -> tuple[zipfile.ZipFile | None, str] | None:
        """Zip file, or None for a plain file, and name in it; None if there is no such picture."""
        bare = path.removeprefix("images/")
        for name in (path, bare, f"images/{bare}"):
            if name in self._member:
                return self._member[name], name
            if (self.folder / name).is_file():
                return None, name
        return None

    def read(self, path: str) -> bytes | None:
        """The encoded picture; None for no path."""
        if not path:
            return None
        archive, name = self.find(path) or (None, path)
        return archive.read(name) if archive else (self.folder / name).read_bytes()


class ImageZip:
    """The files of a zip file, read when they are needed, each once.

    Raises:
        ValueError: If the path is no zip file.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"not a zip file of pictures ({error})") from None
        self._content = {info.filename: (info.CRC, info.file_size) for info in self._zip.infolist()}
        self._read: dict[str, bytes] = {}
        self.files: dict[bytes, str] = {}  # picture -> where it comes from

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def content(self, name: str) -> tuple[int, int]:
        """Checksum and size: those of equal pictures are equal."""
        return self._content[name]

    def read(self, name: str) -> bytes:
        """The encoded picture.

        Raises:
            ValueError: With the file, if the zip file is damaged there.
        """
        if name not in self._read:
            try:
                data = self._zip.read(name)
            except (OSError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(f"{self.place(name)}: not readable ({error})") from None
            self._read[name] = data
            self.files.setdefault(data, self.place(name))
        return self._read[name]

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
