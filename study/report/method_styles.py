"""How every method is drawn: one label, colour and marker each, in all figures and tables.

A variant's are in its entry of `configs/variants`; only what is no variant has its look here. No task and no verdict
has a colour of a method: tasks are panels, verdicts have colours of their own (`figures/forest.py`).
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .. import variant_rows


class MethodStyle(NamedTuple):
    """How a method is drawn, everywhere. The colours differ in lightness too, so that they survive a grey print."""

    label: str
    colour: str
    marker: str


SEM = MethodStyle("SEM", "#E3B505", "v")  # the three SEMs together, each scored on its own task
COLOURS = ("#0B4A8F", "#D1603D", "#166E4F", "#4B1D5B", "#62B6CB", "#8C2F1B", "#6FA0DC", "#C58BBE")
MARKERS = "osD^vPX<>phd"


def looks() -> dict[str, MethodStyle]:
    """The look of every method by name: the variants of `configs/variants`, and SEM."""
    variants, explicit = variant_rows.load_variants(), variant_rows.load_looks()
    return {"sem": SEM, **{name: _look(name, variants[name].label, explicit[name]) for name in variants}}


def _look(name: str, label: str, explicit: variant_rows.Look) -> MethodStyle:
    # By the name and not by the place in the file: a new row must not change how the others are drawn.
    pick = zlib.crc32(name.encode())
    colour = explicit.colour or COLOURS[pick % len(COLOURS)]
    return MethodStyle(explicit.label or label, colour, explicit.marker or MARKERS[pick // len(COLOURS) % len(MARKERS)])


class _Methods(Mapping[str, MethodStyle]):
    """`looks()` as a mapping that reads the configs at the first use, not at import."""

    def __getitem__(self, method: str) -> MethodStyle:
        return looks()[method]

    def __iter__(self) -> Iterator[str]:
        return iter(looks())

    def __len__(self) -> int:
        return len(looks())


METHODS = _Methods()
