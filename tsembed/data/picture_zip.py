"""The pictures of an images.zip, and a row of the JSONL file beside it."""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from .items import decode


class Row(NamedTuple):
    """One picture and what is said about it. What a row does not have is empty.

    Args:
        place: File and line, for messages.
        image: Its name in the zip file.
        label: The kind of picture; or "0" or "1", whether the text is true of it.
        views: Column `image_<view>` -> name of the same thing in another view.
    """

    place: str
    image: str
    text: str
    label: str
    keywords: tuple[str, ...]
    views: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All pictures of the row."""
        return (self.image, *self.views.values())


class PictureZip:
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
