"""Paired timing: contestants in turn, in one process, ratio per round."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Ratio(NamedTuple):
    """Median over rounds of a ratio of times, with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


def in_turn(
    contestants: Mapping[str, Callable[[], Sequence[float]]], rounds: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """What every contestant measured in every round, (rounds, parts), after one warm-up of each.

    Each round draws the order of the contestants, so that a drift of the machine's speed, and what the one before
    leaves in the caches, hit all of them alike.
    """
    for measure in contestants.values():
        measure()
    found = {name: [] for name in contestants}
    for _ in range(rounds):
        for name in rng.permutation(list(contestants)):
            found[name].append(contestants[name]())
    return {name: np.array(rows) for name, rows in found.items()}


def median_ratio(seconds: np.ndarray, base: np.ndarray, *, draws: int = 2000) -> Ratio:
    """The ratio of each round's times, seconds over base: its median, with a bootstrap interval over rounds.

    >>> median_ratio(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    Ratio(median=2.0, low=2.0, high=2.0)
    """
    ratios = np.asarray(seconds) / np.asarray(base)
    drawn = np.random.default_rng(0).integers(len(ratios), size=(draws, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def compare(ours: Callable[[], float | None], peer: Callable[[], float | None], rounds: int) -> dict[str, float]:
    """Seconds of both and the ratio peer / ours (how many times faster ours is), after one warm-up of each.

    A contestant returns the seconds that it measured itself, or None to have its call timed. Who goes first
    alternates, so that a drift of the machine's speed hits both.

    Returns:
        ours, peer: median seconds; ratio: median over rounds; low, high: its quartiles.
    """
    ours(), peer()
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(rounds):
        pair = [("ours", ours), ("peer", peer)]
        for name, call in pair if turn % 2 == 0 else reversed(pair):
            begin = time.perf_counter()
            measured = call()
            seconds[name].append(time.perf_counter() - begin if measured is None else measured)
    ratios = np.array(seconds["peer"]) / np.array(seconds["ours"])
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {
        "ours": float(np.median(seconds["ours"])),
        "peer": float(np.median(seconds["peer"])),
        "ratio": float(middle),
        "low": float(low),
        "high": float(high),
    }


def line(name: str, found: dict[str, float], bar: float | None) -> str:
    """One row of a benchmark's table; says whether the bar holds."""
    verdict = "" if bar is None else f"bar >= {bar:.2f}: {'holds' if found['ratio'] >= bar else 'MISSED'}"
    return (
        f"{name:44s} ours {found['ours']:7.3f} s  peer {found['peer']:7.3f} s  "
        f"ratio {found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]  {verdict}"
    )


def machine() -> str:
    """Processor, threads and versions, for the head of a benchmark's output."""
    from study.runs.provenance import environment

    found = environment()
    versions = ", ".join(f"{k} {found['versions'][k]}" for k in ("torch", "transformers", "sentence-transformers"))
    return f"{found['processor']} ({found['cpu_capability']}), {found['threads']} threads; {versions}"
