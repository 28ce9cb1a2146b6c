"""A part of a preset: some of its variants, or fewer seeds. `./run_all.sh PRESET --only em,ic,mote --seeds 2`.

The choice of the last run stands in runs/PRESET/selection.json, so that every later command, on this machine or another
one of a cluster, sees the same study. A run without a choice removes it. Finished runs outside of it stay as they are.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tsembed.files import write_text
from tsembed.settings import Variant

from . import paths

UNTRAINED = "base"  # stands beside every trained variant of its experiment
VARIABLE = "TSEMBED_SELECTION"  # in place of the file, for a plan, which writes nothing


class Selection(NamedTuple):
    """Which part of a preset; the defaults are all of it."""

    only: tuple[str, ...] = ()  # variants; those whose weights they take come with them, and the untrained backbone
    seeds: int | None = None  # of each variant, at most

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(self._asdict())


def selection_of(preset: str) -> Selection:
    """The choice that holds for a preset."""
    text = os.environ.get(VARIABLE)
    if text is None and (file := _file(preset)).is_file():
        text = file.read_text(encoding="utf-8")
    if not text:
        return Selection()
    try:
        content = json.loads(text)
        return Selection(tuple(content["only"]), content["seeds"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{_file(preset)} is no choice that was saved here: {text!r:.60}; delete it") from None


def choose(preset: str, selection: Selection) -> None:
    """Let the choice hold from now on."""
    if selection == Selection():
        _file(preset).unlink(missing_ok=True)
    else:
        write_text(_file(preset), selection.dump() + "\n")


def chosen(
    counts: Mapping[str, int], selection: Selection, variants: Mapping[str, Variant], all_counts: Mapping[str, int]
) -> dict[str, int]:
    """Variant -> number of seeds, of those that are chosen.

    Args:
        counts: Of one experiment, all of it.
        selection: What is wanted.
        variants: All rows by name, which know whose weights they take.
        all_counts: Of all experiments of the preset.

    Raises:
        ValueError: If a chosen variant is none of the preset's.
    """
    if unknown := [name for name in selection.only if name not in all_counts]:
        raise ValueError(f"--only: {', '.join(unknown)} is no variant of the preset; it has: {', '.join(all_counts)}")
    wanted = set(selection.only or all_counts)
    while more := {other for name in wanted for other in variants[name].others} - wanted:
        wanted |= more
    if wanted & counts.keys():
        wanted.add(UNTRAINED)
    seeds = selection.seeds
    return {name: n if seeds is None else min(n, seeds) for name, n in counts.items() if name in wanted}


def _file(preset: str) -> Path:
    return paths.RUNS / preset / "selection.json"
