"""A study that is killed, interrupted and starved, beside one that is left alone: `python -m tests.failures FOLDER`.

Run by hand, with the interpreter of an environment that can run studies. Status 0: every check held. After each
disturbance nothing of the call may be left running; what was finished may not be done again by the next call; where
something was lacking, the call ends with status 1 and says what; and in the end scores and weights equal those of the
undisturbed study, to the bit. What needs root (a small disk, a control group, a read-only mount) is left out, with a
line, where it cannot be had. With several thousand megabytes free the folder may be anywhere.

The folder is removed at the end, unless a check fails or `--keep` is given; a further call in the same folder uses the
undisturbed study that is there.
"""

import argparse
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.studies import copy_checkout, differences, log, results

from . import machine
from .kinds import KINDS, Strike, moments
from .study import Study

DISK = 6000  # megabytes of runs/, more than a study of `cpu` needs; what is not used takes no space


class Row(NamedTuple):
    """A line of the table: a disturbance, and what there was to see of it."""

    kind: str
    strike: Strike
    finished: int
    left: tuple[list[str], float]
    again: list[str]

    def faults(self) -> list[str]:
        """What should have been otherwise."""
        left = [f"left running: {self.left[0]}"] * bool(self.left[0])
        again = [f"done again: {', '.join(self.again)}"] * bool(self.again)
        return [f"{self.kind} at {self.strike.seconds:.1f} s: {text}" for text in (*self.strike.faults, *left, *again)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.failures", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", choices=["smoke", "cpu"], default="smoke")
    parser.add_argument("--variants", help="a part of the preset's variants, as run_all.sh --only")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="kill -9 so often (20)")
    parser.add_argument("--only", default=",".join(KINDS), metavar="KIND,...", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (0)")
    parser.add_argument("--keep", action="store_true", help="do not remove the folder")
    options = parser.parse_args(arguments)
    kinds = options.only.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    for signum in (signal.SIGINT, signal.SIGTERM):  # in the background SIGINT is ignored
        signal.signal(signum, signal.default_int_handler)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    words = ("--only", options.variants) if options.variants else ()
    calm = Study(copy_checkout(folder / "calm"), options.preset, words)
    seconds = _undisturbed(calm, folder / "calm.seconds")
    shutil.rmtree(folder / "disturbed", ignore_errors=True)
    disturbed = Study(copy_checkout(folder / "disturbed"), options.preset, words)
    with contextlib.ExitStack() as stack:
        stack.callback(disturbed.end)
        if "disk" in kinds:
            try:
                stack.enter_context(machine.small_disk(disturbed.root / "runs", DISK))
            except machine.NotHere as reason:
                log(f"disk: left out, {reason}")
                kinds.remove("disk")
        plan = moments(kinds, options.kills, seconds, options.seed)
        rows = list(_campaign(disturbed, plan))
        faults = [fault for row in rows for fault in row.faults()]
        unequal = _finish(calm, disturbed)
        _print(rows, equal=not unequal)
        faults += unequal
    for fault in faults:
        log(f"FAULT: {fault}")
    if not faults and not options.keep:
        shutil.rmtree(folder)
    log("every check held" if not faults else f"{len(faults)} checks failed; see {folder}")
    return 1 if faults else 0


def _undisturbed(study: Study, known: Path) -> float:
    """How many seconds the study takes when nothing disturbs it, after running it once."""
    if known.is_file():
        return float(known.read_text())
    call = study.start()
    if call.process.wait():
        raise SystemExit(f"the undisturbed study fails:\n{call.output()}")
    seconds = time.monotonic() - call.began
    known.write_text(str(seconds))
    log(f"undisturbed: {study.nodes()} nodes in {seconds:.0f} s")
    return seconds


def _campaign(study: Study, plan: list[tuple[str, float]]) -> Iterator[Row]:
    """A row per disturbance; what is done again is seen in the call after it."""
    waiting: tuple[str, Strike, int, tuple[list[str], float]] | None = None
    before: dict[str, object] = {}
    for kind, moment in plan:
        try:
            strike = KINDS[kind](study, moment)
        except machine.NotHere as reason:
            log(f"{kind}: left out, {reason}")
            continue
        left = study.left()
        if waiting:
            yield Row(*waiting, study.done_again(before))
        before = study.finished()
        waiting = kind, strike, study.nodes(), left
        log(f"{kind} after {strike.seconds:.1f} s at {strike.place}; {study.nodes()} finished; {strike.found}")
        for fault in strike.faults:
            log(f"  {fault}")
    code = study.start().process.wait()
    if waiting:
        yield Row(*waiting, study.done_again(before))
    log(f"a call that nothing disturbs: status {code}, {study.nodes()} finished")


def _finish(calm: Study, disturbed: Study) -> list[str]:
    """What is not as in the undisturbed study."""
    expected, found = (results(study.root, study.preset) for study in (calm, disturbed))
    faults = [f"not as in the undisturbed study: {name}" for name in differences(expected, found)]
    log(f"{len(expected)} results (scores, weights, tables of probes) compared with those of the undisturbed study")
    again = disturbed.start()
    if again.process.wait() or "Nothing to do" not in again.output():
        faults.append(f"a further call does something:\n{again.output()}")
    return faults


def _print(rows: list[Row], *, equal: bool) -> None:
    print("\n| kind | moment | where it struck | nodes finished | left after | done again | what was said | equal |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        left = f"{len(row.left[0])} processes" if row.left[0] else f"nothing, {row.left[1]:.1f} s"
        cells = [row.kind, f"{row.strike.seconds:.1f} s", row.strike.place, str(row.finished), left]
        cells += [", ".join(row.again) or "nothing", row.strike.found or "", "yes" if equal else "NO"]
        print("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
