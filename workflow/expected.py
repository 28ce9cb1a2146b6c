"""How long the runs of a plan take, from runs that are finished: here, kept in reports/kept, or in the reference."""

import json
from collections.abc import Iterable
from statistics import mean
from typing import NamedTuple

import nodes

from study import paths


class Expected(NamedTuple):
    """Seconds of some runs, on the machine that finished the ones they are computed from."""

    seconds: float
    source: str  # what they are computed from


def expected(graph: nodes.RunGraph, wanted: Iterable[str]) -> Expected | None:
    """Of the runs among some nodes; None where there is nothing to compute it from, or no run among them.

    A run takes as long as the mean of its variant's finished runs, or of all where its variant has none.

    Args:
        graph: Of the preset.
        wanted: Nodes, runs and others.
    """
    wanted = set(wanted)
    members = [
        variant
        for node, seed in graph.runs
        if f"{node}/seed{seed}" in wanted
        for variant in graph.settings.variants_of_node(node, seed)
    ]
    if not members:
        return None
    of_variants = _finished(graph.preset)
    parallel = graph.settings.parallel_runs
    if of_variants:
        every = mean(seconds for several in of_variants.values() for seconds in several)
        total = sum(mean(of_variants.get(variant, [every])) for variant in members)
        return Expected(total / parallel, f"{sum(map(len, of_variants.values()))} finished runs")
    reference = paths.REPORTS / "reference" / graph.preset / "reference.json"
    if not reference.is_file():
        return None
    content = json.loads(reference.read_text(encoding="utf-8"))
    each = sum(content["seconds"].values()) / content["runs"]
    machine = content["hardware"][0]
    where = f"{', '.join(machine['gpus']) or machine['processor']}, {machine['cores']} cores"
    return Expected(each * len(members) / parallel, f"the {content['runs']} runs of the reference ({where})")


def _finished(preset: str) -> dict[str, list[float]]:
    """Variant -> seconds of its finished runs."""
    found: dict[str, dict[str, float]] = {}
    for root in (paths.REPORTS / "kept" / preset, paths.RUNS / preset):
        for mark in root.glob("*/seed*/done.json"):
            if seconds := json.loads(mark.read_text(encoding="utf-8")).get("seconds"):
                found.setdefault(mark.parts[-3], {})[mark.parts[-2]] = sum(seconds.values())
    return {variant: list(seconds.values()) for variant, seconds in found.items()}
