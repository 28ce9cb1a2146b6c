"""What a call of the scheduler says of its nodes."""

import sys
import time
from pathlib import Path

import node_states
import nodes

from study import paths
from study.process import cause

LAST_LINES = 5  # of a failed node's output


def failure(node: str, log: Path | None, lines: list[str]) -> None:
    """On stderr: which node failed, its log, and the last lines of the cause."""
    place = log.relative_to(paths.ROOT) if log else "none"
    last = [f"    {line}" for line in cause([line for line in lines if line.strip()])][-LAST_LINES:]
    print(f"\nfailed: {node}, log: {place}", *last, sep="\n", file=sys.stderr)


def show(graph: nodes.RunGraph, session: str, shown: dict[str, tuple[float, str]]) -> None:
    """One line when a node starts, as often as it does, and one when it ends."""
    for node, state in sorted(node_states.read_states(graph.preset).items(), key=lambda item: item[1]["started"]):
        now = (state["started"], state["state"])
        if state["session"] != session or shown.get(node) == now:
            continue
        if node not in shown or shown[node][0] != state["started"]:
            say("start", node, "", state["started"])
        if state["state"] != "running":
            spent = duration(state.get("ended", time.time()) - state["started"])
            say(state["state"], node, spent, state.get("ended"))
        shown[node] = now


def say(what: str, node: str, how: str, when: float | None = None) -> None:
    """One line about a node: what it does, how long it took or why it waits, at the time `when`, now by default."""
    print(f"{_clock(when or time.time())}  {what:7} {node}  {how}".rstrip(), flush=True)


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def duration(seconds: float) -> str:
    """In words.

    >>> duration(59.4), duration(61)
    ('59 s', '1 min 01 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
