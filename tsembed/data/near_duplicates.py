"""Texts that have nearly the same words: met by their rarest words, then counted exactly.

Two sets of n words of which a share t is common have a word in common among the n - ceil(t n) + 1 rarest of each
("prefix filtering", Chaudhuri et al. 2006; Bayardo et al. 2007). Nothing is missed by it, and frequent words, which
nearly all texts share, are hardly ever looked up.
"""

import math
import re
import zlib
from collections import Counter, defaultdict

from ..texts import same_key

SIMILAR = 0.8  # words in common, of all words of the two texts
FEWEST_WORDS = 5  # distinct ones; two short texts share most of their words by chance
LONGEST = 256  # words of a text that count
MOST_TEXTS = 200_000  # that are remembered


class NearDuplicates:
    """Remembers texts, and finds out whether another one is nearly one of them."""

    def __init__(self) -> None:
        self._texts: list[frozenset[int]] = []  # words as numbers
        self._frequency: Counter[int] = Counter()  # texts that have a word
        self._places: dict[int, list[int]] | None = None  # of the texts that have a word among their rarest ones

    def add(self, text: str) -> None:
        """Remember a text; a short one, or one beyond `MOST_TEXTS`, is not."""
        words = _words(text)
        if len(words) >= FEWEST_WORDS and len(self._texts) < MOST_TEXTS:
            self._texts.append(words)
            self._frequency.update(words)
            self._places = None

    def __contains__(self, text: str) -> bool:
        words = _words(text)
        if len(words) < FEWEST_WORDS or not self._texts:
            return False
        if self._places is None:  # which words are rare is known when the last text is there
            self._places = defaultdict(list)
            for place, known in enumerate(self._texts):
                for word in self._rarest(known):
                    self._places[word].append(place)
        met = {place for word in self._rarest(words) for place in self._places.get(word, ())}
        return any(_similar(words, self._texts[place]) for place in met)

    def _rarest(self, words: frozenset[int]) -> list[int]:
        """The words of which two similar texts have at least one in common."""
        in_order = sorted(words, key=lambda word: (self._frequency[word], word))
        return in_order[: len(words) - math.ceil(SIMILAR * len(words)) + 1]


def _words(text: str) -> frozenset[int]:
    return frozenset(zlib.crc32(word.encode()) for word in re.findall(r"\w+", same_key(text))[:LONGEST])


def _similar(words: frozenset[int], others: frozenset[int]) -> bool:
    common = len(words & others)
    return common >= SIMILAR * (len(words) + len(others) - common)
