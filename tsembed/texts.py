"""What counts as a text: it can be written as UTF-8, and something of it can be seen. Standard library only."""

import unicodedata
from functools import cache

# Characters that nobody sees and that are none of category Cf or Cc (Unicode's Default_Ignorable_Code_Point).
_IGNORED = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian selectors
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # half-width Hangul filler
    (0xE0000, 0xE0FFF),  # tags, more variation selectors
)


@cache
def _invisible() -> dict[int, None]:
    """A table for `str.translate` that takes out format, control and ignored characters, and keeps white space."""
    kinds = ("Cf", "Cc")
    of_kinds = [i for i in range(0xE0000) if unicodedata.category(chr(i)) in kinds and not chr(i).isspace()]
    ignored = [i for first, last in _IGNORED for i in range(first, last + 1)]
    return dict.fromkeys([*of_kinds, *ignored])


def visible(text: str) -> str:
    """The text in Unicode's form NFKC, without format, control and other invisible characters, stripped.

    >>> visible("\\u200b \\ufb01ne\\u00ad"), visible("\\x00\\u2060")
    ('fine', '')
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    return unicodedata.normalize("NFKC", text.translate(_invisible())).strip()


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: only white space and invisible characters."""
    return not visible(text)


def same_key(text: str) -> str:
    """A text that two texts have in common if they differ in case, white space and invisible or composed characters.

    >>> same_key("CAFE\\u0301  au\\u200b lait") == same_key("caf\\u00e9 au lait")
    True
    """
    folded = visible(text).casefold()
    return " ".join((folded if folded.isascii() else unicodedata.normalize("NFKC", folded)).split())


def check_unicode(text: str) -> None:
    """Go on if the text can be written as UTF-8.

    Raises:
        ValueError: With the place of the first half of a surrogate pair, which JSON can spell and no text can hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise ValueError(f"half a surrogate pair, {half}, stands at character {error.start + 1}") from None
