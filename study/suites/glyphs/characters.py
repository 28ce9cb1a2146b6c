"""Glyphs suite, characters: which there are, and what can be said of one without looking at a font.

Names come from Unicode 3.2, which every Python carries beside its own version (`unicodedata.ucd_3_2_0`): the same
characters with the same names on Python 3.11 and 3.14.
"""

import re
from functools import cache
from typing import NamedTuple
from unicodedata import ucd_3_2_0 as unicode

LETTERS = ("Latin letter", "Greek letter", "Cyrillic letter", "Armenian letter", "Georgian letter")
SIGNS = (
    "Hebrew letter",
    "Arabic letter",
    "Canadian syllable",
    "Braille pattern",
    "arrow",
    "mathematical sign",
    "geometric shape",
    "circled sign",
)
KINDS = (*LETTERS, *SIGNS)
CASES = ("capital", "small")
MARKS = (
    "acute", "caron", "cedilla", "circumflex", "diaeresis", "dot above", "dot below", "grave", "macron",
    "stroke", "tilde",
)  # fmt: skip
LONGEST = 8  # words of a name: longer ones are of letters with two marks and of combined signs
WITHOUT_CASE = ("Georgian letter", "Hebrew letter", "Arabic letter")
_LETTER = re.compile(r"(\w+) (?:(CAPITAL|SMALL) )?LETTER ([\w -]+?)(?: WITH ([\w ]+))?")
_BLOCKS = {  # first and last code point -> kind
    (0x2190, 0x21FF): "arrow",
    (0x2200, 0x22FF): "mathematical sign",
    (0x2460, 0x24FF): "circled sign",
    (0x25A0, 0x25FF): "geometric shape",
    (0x27F0, 0x27FF): "arrow",
    (0x2801, 0x28FF): "Braille pattern",
    (0x2900, 0x297F): "arrow",
    (0x2A00, 0x2AFF): "mathematical sign",
}


class Character(NamedTuple):
    """A named character.

    Args:
        code: Its code point.
        name: Unicode's name, in lower-case letters.
        kind: One of `KINDS`.
        case: One of `CASES`, or "" where a kind has no cases.
        mark: One of `MARKS`, or "" for a letter without a mark, with another one, or with two.
    """

    code: int
    name: str
    kind: str
    case: str = ""
    mark: str = ""

    @property
    def is_letter(self) -> bool:
        """Whether it is of one of `LETTERS`: these have the same faces."""
        return self.kind in LETTERS


@cache
def characters() -> tuple[Character, ...]:
    """All characters of the suite's kinds in Unicode 3.2, by code point, whether a font has them or not."""
    found = (_character(code) for code in range(0x21, 0x10000))
    return tuple(character for character in found if character is not None)


def _character(code: int) -> Character | None:
    name = unicode.name(chr(code), "")
    if not name or len(name.split()) > LONGEST:
        return None
    for (first, last), kind in _BLOCKS.items():
        if first <= code <= last:
            return Character(code, name.lower(), kind)
    if name.startswith("CANADIAN SYLLABICS "):
        return Character(code, name.lower(), "Canadian syllable")
    parts = _LETTER.fullmatch(name)
    kind = f"{parts[1].capitalize()} letter" if parts else ""
    case, mark = ((parts[2] or "").lower(), (parts[4] or "").lower()) if parts else ("", "")
    if kind not in KINDS or (kind in WITHOUT_CASE) == bool(case):
        return None
    return Character(code, name.lower(), kind, case, mark if mark in MARKS else "")
