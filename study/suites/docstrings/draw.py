"""Descriptions of parameters, which several sets of the docstring suite draw from."""

from typing import NamedTuple

from ..words import normalised
from .labels import description
from .packages import Record


class Described(NamedTuple):
    """One parameter of a record with its description."""

    record: Record
    name: str
    text: str


def parameter_descriptions(records: list[Record], most: int = 40) -> list[Described]:
    """All parameters with a description, each description once."""
    first: dict[str, Described] = {}
    for record in records:
        for name, text in record.params.items():
            if answer := description(text, most):
                first.setdefault(normalised(answer), Described(record, name, answer))
    return list(first.values())
