"""What makes two texts of a suite the same."""

import re
from functools import cache


def words(text: str) -> list[str]:
    """Lower-case words of a text, without punctuation: equal for texts that differ only in layout.

    >>> words("The N-th `item`.")
    ['the', 'n', 'th', 'item']
    """
    return re.findall(r"[a-z0-9]+", text.lower())


@cache
def normalised(text: str) -> str:
    """What makes two texts the same: their words in order, without case and punctuation."""
    return " ".join(words(text))
