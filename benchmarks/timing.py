"""Paired timing: contestants in turn, in one process, ratio per round."""

import time
from collections.abc import Callable

import numpy as np


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
        "ours": float(np.median(seconds["ours"])), "peer": float(np.median(seconds["peer"])), "ratio": float(middle),
        "low": float(low), "high": float(high),
    }  # fmt: skip


def line(name: str, found: dict[str, float], bar: float | None) -> str:
    """One row of a benchmark's table; says whether the bar holds."""
    verdict = "" if bar is None else f"bar >= {bar:.2f}: {'holds' if found['ratio'] >= bar else 'MISSED'}"
    return (
        f"{name:44s} ours {found['ours']:7.3f} s  peer {found['peer']:7.3f} s  "
        f"ratio {found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]  {verdict}"
    )


def machine() -> str:
    """Processor, threads and versions, for the head of a benchmark's output."""
    from tsembed.provenance import environment

    found = environment()
    versions = ", ".join(f"{k} {found['versions'][k]}" for k in ("torch", "transformers", "sentence-transformers"))
    return f"{found['processor']} ({found['cpu_capability']}), {found['threads']} threads; {versions}"
