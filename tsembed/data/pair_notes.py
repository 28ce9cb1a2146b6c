"""What people want to know of training pairs before they train: how many are never each other's negatives."""

import hashlib
from collections import Counter
from typing import Any

from ..texts import visible

COUNTED = 1_000_000  # rows that are looked at; the counts of a larger set are of its first ones


class PairNotes:
    """Counts the texts and groups of the pairs of one training set."""

    def __init__(self, format: str):
        self._format = format
        self._rows = 0
        self._queries: Counter[bytes] = Counter()
        self._documents: set[bytes] = set()
        self._groups: set[int] = set()

    def add(self, row: dict[str, Any]) -> None:
        """Take in a pair, as it is stored."""
        if self._rows < COUNTED:
            self._rows += 1
            self._queries[_digest(row["query"], row.get("query_image"))] += 1
            self._documents.add(_digest(row["document"], row.get("document_image")))
            self._groups.add(row["group"])

    def notes(self) -> dict[str, str]:
        """`negatives` where no pair has one; `shared` of pairs, not of labels: how many have a query of another one."""
        for what, values in (("label or document", self._groups), ("query", self._queries)):
            if self._rows and len(values) == 1:
                return {"negatives": f"all {self._rows} pairs have one {what}: none is a negative of another"}
        shared = sum(n for query, n in self._queries.items() if n > 1 or query in self._documents)
        if self._format != "pairs" or not shared:
            return {}
        what = "have the query of another pair, or a query that is another's document"
        return {"shared": f"{shared:,} pairs {what}: such pairs are never each other's negatives"}


def _digest(text: str, image: bytes | None) -> bytes:
    digest = hashlib.blake2b(visible(text).encode(), digest_size=8)
    if image is not None:
        digest.update(b"\0" + image)
    return digest.digest()
