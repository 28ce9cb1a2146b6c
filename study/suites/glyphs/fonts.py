"""Glyphs suite, fonts: which character looks how in which of the fonts that matplotlib brings.

No two characters of the suite share a picture, in whatever fonts, and no character has the same picture twice. Only the
six kinds of files below are read: Computer Modern's name characters by their places in TeX's encodings ("<" is drawn as
an inverted exclamation mark), DejaVu Sans Mono can hardly be told from DejaVu Sans by one character, and the others
have few characters.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from .characters import Character, characters
from .outlines import pictures

MADE_WITH = "3.11.2"  # matplotlib, of requirements.lock
SHA256 = "570fa01ede4df16fc2f17b2ad4f7632d2706b8e5e6c0125e26d580d82c800dc0"
FAMILIES = ("DejaVu Sans", "DejaVu Serif", "STIX")
WEIGHTS, SLOPES = ("regular", "bold"), ("upright", "slanted")


class Face(NamedTuple):
    """One font file: a family in a weight and a slope."""

    file: str
    family: str
    weight: str
    slope: str


_FILES = {
    "DejaVu Sans": ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSans-BoldOblique"),
    "DejaVu Serif": ("DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic"),
    "STIX": ("STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta"),
}
_STYLES = [(weight, slope) for weight in WEIGHTS for slope in SLOPES]
FACES = tuple(Face(f, name, *style) for name in FAMILIES for f, style in zip(_FILES[name], _STYLES, strict=True))

Look = UInt8[np.ndarray, "16 16"]
Looks = Mapping[Character, dict[int, Look]]  # character -> index of a face -> grey values


@cache
def looks() -> Looks:
    """The characters of the suite in the order of their code points, each with its faces.

    Of characters that share a picture, as A, Alpha and the Cyrillic A do, the first is in the suite; of faces that draw
    a character alike, the first. A letter has all eight faces of DejaVu, and either all four of STIX or none; a sign
    has two faces or more.

    Raises:
        ValueError: If matplotlib has other fonts than those that this suite was made with.
    """
    found = _told_apart([pictures(_folder() / f"{face.file}.ttf", (c.code for c in characters())) for face in FACES])
    sha256 = _sha256(found)
    if sha256 != SHA256:
        raise ValueError(
            f"the glyphs of matplotlib {version('matplotlib')} have the sha256 {sha256}, not {SHA256}; "
            f"install matplotlib {MADE_WITH}, the pinned version"
        )
    return found


def _folder() -> Path:
    (package,) = find_spec("matplotlib").submodule_search_locations
    return Path(package) / "mpl-data" / "fonts" / "ttf"


def _told_apart(of_faces: list[dict[int, Look]]) -> Looks:
    owner: dict[bytes, int] = {}  # picture -> the first character that has it
    for of_face in of_faces:
        for code, grey in of_face.items():
            owner[grey.tobytes()] = min(code, owner.get(grey.tobytes(), code))
    alike = {code for of_face in of_faces for code, grey in of_face.items() if owner[grey.tobytes()] != code}
    kept = {}
    for character in characters():
        if character.code in alike:
            continue
        distinct: dict[bytes, int] = {}
        for face, of_face in enumerate(of_faces):
            if character.code in of_face and of_face[character.code].any():
                distinct.setdefault(of_face[character.code].tobytes(), face)
        if faces := _allowed(character, sorted(distinct.values())):
            kept[character] = {face: of_faces[face][character.code] for face in faces}
    return kept


def _allowed(character: Character, faces: list[int]) -> list[int]:
    if not character.is_letter:
        return faces if len(faces) > 1 else []
    of_family = {family: [face for face in faces if FACES[face].family == family] for family in FAMILIES}
    whole = [faces_ for faces_ in of_family.values() if len(faces_) == len(_STYLES)]
    has_dejavu = all(len(of_family[family]) == len(_STYLES) for family in FAMILIES[:2])
    return [face for faces_ in whole for face in faces_] if has_dejavu else []


def _sha256(found: Looks) -> str:
    digest = hashlib.sha256()
    for character, of_character in found.items():
        digest.update("\0".join(map(str, character)).encode())
        for face, grey in of_character.items():
            digest.update(f"\0{FACES[face].file}\0".encode() + grey.tobytes())
    return digest.hexdigest()
