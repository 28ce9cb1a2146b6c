"""Training rows that an evaluation part scores are left out, and those that are nearly so are counted."""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

from ...texts import same_key
from ..columns import Kind
from ..near_duplicates import SIMILAR, NearDuplicates
from ..schema import Row, kinds

NEGATIVES = "negatives"  # the column of pairs that a row may lack


class Evaluated(NamedTuple):
    """The texts that evaluation parts score.

    Attributes:
        digests: Of all of them.
        near: Those of test files and queries, for what is nearly one of them.
    """

    digests: set[bytes]
    near: NearDuplicates

    def add(self, texts: Iterable[str]) -> None:
        """Remember the texts of a row."""
        for text in texts:
            self.digests.add(digest(text))
            self.near.add(text)


def text_columns(columns: dict[str, Kind]) -> dict[str, bool]:
    """The columns that hold text that is embedded, and whether a column holds a list of them."""
    names = {name: kind.stored == "texts" for name, kind in columns.items() if kind.stored in ("text", "texts")}
    return {name: several for name, several in names.items() if name not in ("query_id", "doc_id", "id", "label")}


def texts_of(row: Row, columns: dict[str, bool]) -> Iterator[str]:
    """The texts of a row; `columns` as `text_columns` gives them."""
    for column, several in columns.items():
        if several:
            yield from getattr(row, column)
        else:
            yield getattr(row, column)


def digest(text: str) -> bytes:
    """Of what trivial variants of a text have in common."""
    return hashlib.blake2b(same_key(text).encode(), digest_size=8).digest()


def uncontaminated(
    rows: Iterable[Row], row_class: type[Row], evaluated: Evaluated
) -> Generator[Row, None, dict[str, str]]:
    """The training rows without those that have an evaluated text, and without such negatives; returns their numbers,
    and what is near an evaluated text, as notes.
    """
    removed, removed_negatives, near, example = 0, 0, 0, ""
    columns = text_columns(kinds(row_class))
    columns.pop(NEGATIVES, None)  # one of several: the row is whole without it
    row: Any
    for row in rows:
        texts = list(texts_of(row, columns))
        if any(digest(text) in evaluated.digests for text in texts):
            removed += 1
            continue
        if negatives := getattr(row, NEGATIVES, None):
            unseen = [text for text in negatives if digest(text) not in evaluated.digests]
            removed_negatives += len(negatives) - len(unseen)
            row = row.model_copy(update={NEGATIVES: unseen or None})
        if similar := next((text for text in texts if text in evaluated.near), None):
            near, example = near + 1, example or similar
        yield row
    notes = {}
    if removed:
        notes["contamination"] = f"{removed} train rows left out: an evaluation part scores a text of theirs"
    if removed_negatives:
        notes[NEGATIVES] = f"{removed_negatives} negatives left out: an evaluation part scores them"
    if near:
        share = f"{SIMILAR:.0%} of the words are the same"
        notes["near"] = f"{near} train rows are nearly an evaluated text ({share}) and stay; the first: {example!r:.60}"
    return notes
