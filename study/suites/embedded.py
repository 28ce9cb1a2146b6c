"""The embedded source: text of installed packages, of the suites that `data.suites` names, one after the other."""

from collections.abc import Iterator

from tsembed.data.schema import DatasetSpec

from ..presets import Data
from .docstrings import suite as docstrings
from .icd10 import suite as icd10

SUITES = {"docstrings": docstrings, "icd10": icd10}


def specs(data: Data) -> Iterator[DatasetSpec]:
    """All datasets of the suites.

    Raises:
        ValueError: If the text of a package is not the pinned one; names the package and its versions.
    """
    for name in data.suites:
        yield from SUITES[name].specs(data)


def fingerprint(data: Data) -> list[str]:
    """What decides the datasets beside the settings, of every suite."""
    return [line for name in data.suites for line in SUITES[name].fingerprint(data)]
