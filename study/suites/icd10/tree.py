"""The codes of ICD-10-CM as a tree: read from the data file of an installed package, of which no code is run.

A chapter has sections, a section categories (three characters), a category codes of four and more characters. The file
is pinned by its sha256, so the tree is the same on every machine.
"""

import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from ..words import normalised

DISTRIBUTION = "simple-icd-10-cm"
VERSION = "1.5.0"
FILE = "simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml"
SHA256 = "f161f8182aff3ce3a2a78e202f8259c08eaee2c670a9e45b0072445c52302935"
ORIGIN = f"ICD-10-CM, April 2026, of {DISTRIBUTION} {VERSION}"
LICENCE = "public domain (ICD-10-CM), MIT (the package)"

NOTE_WORDS = (2, 30)  # least and most words of a note that is used
_CODE = r"[A-Z]\d[\dA-Z](?:\.[\dA-Z]*)?-?"
_REFERENCE = re.compile(rf"\s*[(\[]\s*{_CODE}(?:(?:\s*[-,;]\s*|,?\s+and\s+){_CODE})*\s*[)\]]")
_ONE_REFERENCE = re.compile(r"\s*[(\[]\s*([A-Z]\d[\dA-Z](?:\.[\dA-Z]+)?)(?:\.?-)?\s*[)\]]\s*")
_TOKEN = re.compile(r"[A-Z]\d[\dA-Z](?:\.[\dA-Z]+)?")
_POINTER = re.compile(r"\b(see|codes?|coded|classifiable)\b|:$")  # says where to look, not what the disease is


class Exclusion(NamedTuple):
    """What a code excludes, and the name of the code where it belongs."""

    note: str
    belongs_to: str


@dataclass(frozen=True, slots=True)
class Code:
    """One code: what it is called, where it stands, and what it includes and excludes.

    Args:
        path: Names from the chapter over section and category down to the code itself.
        description: As in the tabular list.
        included: Its inclusion terms and "includes" notes, without those that repeat its description.
        excluded: Its "excludes" notes that name one code where the disease belongs, without those that repeat the
            description of either code.
    """

    path: tuple[str, ...]
    description: str
    included: tuple[str, ...]
    excluded: tuple[Exclusion, ...]

    @property
    def name(self) -> str:
        """The code itself, as in "A01.02"."""
        return self.path[-1]

    @property
    def chapter(self) -> str:
        """Number of the chapter."""
        return self.path[0]

    @property
    def section(self) -> str:
        """Range of the section, as in "A00-A09"."""
        return self.path[1]

    @property
    def category(self) -> str:
        """The first three characters."""
        return self.path[2]

    @property
    def is_broad(self) -> bool:
        """Whether the code has at most four characters. Longer ones often repeat it with a side or an encounter."""
        return len(self.name.replace(".", "")) <= 4


def grade(a: Code, b: Code) -> int:
    """How near two codes stand in the tree: 5 the same code, 4 below one code of a category, 3 the same category,
    2 the same section, 1 the same chapter, 0 different chapters."""
    if a.path == b.path:
        return 5
    shared = next((i for i, (x, y) in enumerate(zip(a.path, b.path, strict=False)) if x != y), None)
    return min(4, min(len(a.path), len(b.path)) if shared is None else shared)


def is_above_or_below(a: Code, b: Code) -> bool:
    """Whether one of the codes contains the other."""
    depth = min(len(a.path), len(b.path))
    return a.path[:depth] == b.path[:depth]


def installed_file() -> Path:
    """The data file of the installed package, which is found and not imported.

    Raises:
        ValueError: If there is none, or if it is not the pinned one; names the package with both versions.
    """
    package, _, inner = FILE.partition("/")
    spec = importlib.util.find_spec(package)
    path = (
        Path(next(iter(spec.submodule_search_locations))) / inner if spec and spec.submodule_search_locations else None
    )
    if path is None:
        raise ValueError(f"package {DISTRIBUTION} {VERSION} is not installed; install requirements.lock")
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"
    if digest != SHA256:
        raise ValueError(
            f"{DISTRIBUTION}: expected version {VERSION} with {FILE} of sha256 {SHA256[:12]}, "
            f"found version {_installed_version()} with {digest[:12]}; install requirements.lock"
        )
    return path


def _installed_version() -> str:
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def codes(path: Path) -> list[Code]:
    """All codes of a tabular list in XML, in its order.

    Raises:
        ValueError: If the file is not XML, or has an element without its name or description; names the file.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not XML: {error}") from None
    try:
        descriptions = {_text(element, "name"): _text(element, "desc") for element in root.iter("diag")}
        return [
            code
            for chapter in root.findall("chapter")
            for section in chapter.findall("section")
            for category in section.findall("diag")
            for code in _walk(category, (_text(chapter, "name"), section.attrib["id"]), descriptions)
        ]
    except KeyError as error:
        raise ValueError(f"{path}: an element lacks {error}") from None


def _walk(element: ElementTree.Element, above: tuple[str, ...], descriptions: dict[str, str]) -> Iterator[Code]:
    """The code of an element and those in it, outside in."""
    name = _text(element, "name")
    path = (*above, name)
    yield Code(path, descriptions[name], _included(element, descriptions), _excluded(element, descriptions))
    for child in element.findall("diag"):
        yield from _walk(child, path, descriptions)


def _text(element: ElementTree.Element, tag: str) -> str:
    text = " ".join((element.findtext(tag) or "").split())
    if not text:
        raise KeyError(tag)
    return text


def _included(element: ElementTree.Element, descriptions: dict[str, str]) -> tuple[str, ...]:
    repeated = normalised(descriptions[_text(element, "name")])
    distinct: dict[str, str] = {}
    for note in map(cleaned, _notes(element, "inclusionTerm", "includes")):
        if normalised(note) != repeated and _says_itself(note, descriptions):
            distinct.setdefault(normalised(note), note)
    return tuple(distinct.values())


def _excluded(element: ElementTree.Element, descriptions: dict[str, str]) -> tuple[Exclusion, ...]:
    description = descriptions[_text(element, "name")]
    exclusions = []
    for raw in _notes(element, "excludes1", "excludes2"):
        references = [_ONE_REFERENCE.fullmatch(reference) for reference in _REFERENCE.findall(raw)]
        names = [reference[1] for reference in references if reference]
        note = cleaned(raw)
        if len(references) == len(names) == 1 and names[0] in descriptions and _says_itself(note, descriptions):
            texts = (note, description, descriptions[names[0]])
            if len({normalised(text) for text in texts}) == len(texts):
                exclusions.append(Exclusion(note, names[0]))
    return tuple(exclusions)


def _notes(element: ElementTree.Element, *tags: str) -> Iterator[str]:
    for tag in tags:
        for group in element.findall(tag):
            yield from (note.text or "" for note in group.findall("note"))


def _says_itself(note: str, descriptions: dict[str, str]) -> bool:
    """Whether a note names a disease in words: neither too short or long, nor one that points to codes."""
    least, most = NOTE_WORDS
    names_code = any(token in descriptions for token in _TOKEN.findall(note))
    return least <= len(note.split()) <= most and not names_code and not _POINTER.search(note)


def cleaned(note: str) -> str:
    """A note without the codes that it refers to, with a capital first letter.

    Notes of exclusion end in codes and begin in lower case, inclusion terms do not: that would tell them apart.

    >>> cleaned("chronic obstructive bronchitis (J44.-)"), cleaned("keratocysts (D16.4, D16.5) of jaw")
    ('Chronic obstructive bronchitis', 'Keratocysts of jaw')
    """
    text = " ".join(_REFERENCE.sub("", note).split())
    return text[:1].upper() + text[1:]
