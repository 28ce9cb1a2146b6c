"""Each way in which a study is disturbed: what is done to a call, and what must be true of it afterwards."""

import os
import random
import re
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from . import machine
from .study import Call, Study

PATIENCE = 3600.0  # seconds that a call may take to find that it cannot go on
QUICK = 60.0  # seconds in which a call ends that is asked to
MEMORY = 500  # megabytes for a whole call: less than any training needs
TRACEBACK = "Traceback (most recent call last)"
FULL, OUT_OF_MEMORY, READ_ONLY = r"no space left", r"out of memory", r"read-only"


class Strike(NamedTuple):
    """What a disturbance did.

    Attributes:
        seconds: From the start of the call.
        place: The nodes that were at work.
        found: What was seen of it, for the table.
        faults: What should have been otherwise.
    """

    seconds: float
    place: str
    found: str
    faults: tuple[str, ...]


def kill(study: Study, moment: float) -> Strike:
    """kill -9 of the call's process group."""
    call, place, seconds = _until(study, moment)
    if call.process.poll() is not None:
        return Strike(seconds, "ended before", *_ended(call))
    call.kill()
    return Strike(seconds, place, "", ())


def terminate(study: Study, moment: float) -> Strike:
    """SIGTERM to the call."""
    return _interrupted(study, moment, lambda call: call.process.terminate())


def interrupt(study: Study, moment: float) -> Strike:
    """SIGINT to the process group, as Ctrl-C sends it."""
    return _interrupted(study, moment, lambda call: os.killpg(call.process.pid, signal.SIGINT))


def disk(study: Study, moment: float) -> Strike:
    """The disk of runs/ is full from a moment on; the study goes on when there is space again."""
    call, place, seconds = _until(study, moment)
    with machine.filled(study.root / "runs"):
        return Strike(seconds, place, *_refused(call, FULL))


def memory(study: Study, moment: float) -> Strike:
    """A call that has less memory than its nodes need, from its start on."""
    with machine.little_memory(MEMORY) as limit:
        call = study.start(limit)
        place = _place_at_end(study, call)
        strike = Strike(0.0, place, *_refused(call, OUT_OF_MEMORY))
        study.left()  # the group can go when nobody is in it
        return strike


def clock(study: Study, moment: float) -> Strike:
    """The clock is a day behind the files that are there; then a kill."""
    machine.set_clock_back(study.root, study.preset)
    return kill(study, moment)


def reports(study: Study, moment: float) -> Strike:
    """The folder of reports cannot be written, to the end of a call."""
    (study.root / "reports").mkdir(exist_ok=True)
    with machine.read_only(study.root / "reports"):
        call = study.start()
        place = _place_at_end(study, call)
        return Strike(0.0, place, *_refused(call, READ_ONLY))


def callers(study: Study, moment: float) -> Strike:
    """A second call while the first is at work: it is refused, and the first goes on until Ctrl-C."""
    call, place, seconds = _until(study, moment)
    if call.process.poll() is not None:
        return Strike(seconds, "ended before", *_ended(call))
    other = Call(study.root, [study.preset, *study.words])
    ended = other.ends_within(QUICK)
    lines, status = other.errors().splitlines(), other.process.poll()
    faults = []
    if not ended or status != 1 or len(lines) != 1 or "already running in this checkout" not in lines[0]:
        faults.append(f"the second call: status {status}, {lines}")
    if call.process.poll() is not None:
        faults.append(f"the first call ended: {call.output()[-500:]}")
    os.killpg(call.process.pid, signal.SIGINT)
    faults += [] if call.ends_within(time.monotonic() - call.began + QUICK) else ["Ctrl-C did not end the first call"]
    return Strike(seconds, place, f"second: status {status}", tuple(faults))


KINDS: dict[str, Callable[[Study, float], Strike]] = {
    "kill": kill,
    "terminate": terminate,
    "interrupt": interrupt,
    "disk": disk,
    "memory": memory,
    "clock": clock,
    "callers": callers,
    "reports": reports,  # the last: notebooks and pages come when all runs are done
}


def moments(kinds: list[str], kills: int, seconds: float, seed: int) -> list[tuple[str, float]]:
    """The disturbances in their order, each with the seconds from the start of its call.

    The ends of the calls are uniform draws over the time of an undisturbed study, which the calls share; so the kills
    are spread over all of it, and several in a row may come before a study has even started.
    """
    draw = random.Random(seed)
    order = ["kill"] * (kills if "kill" in kinds else 0)
    order += [kind for kind in kinds if kind not in ("kill", "reports")]
    draw.shuffle(order)
    order += ["reports"] * ("reports" in kinds)
    ends = sorted(draw.uniform(0, seconds) for _ in order)
    return [(kind, end - before) for kind, end, before in zip(order, ends, [0.0, *ends], strict=False)]


def _until(study: Study, moment: float) -> tuple[Call, str, float]:
    """A call at this moment, what is at work in it, and the moment."""
    call = study.start()
    call.ends_within(moment)
    return call, _place(study), time.monotonic() - call.began


def _interrupted(study: Study, moment: float, how: Callable[[Call], None]) -> Strike:
    call, place, seconds = _until(study, moment)
    if call.process.poll() is not None:
        return Strike(seconds, "ended before", *_ended(call))
    how(call)
    if not call.ends_within(time.monotonic() - call.began + QUICK):
        call.kill()
        return Strike(seconds, place, "", (f"not ended after {QUICK:.0f} s",))
    faults = [f"status {call.process.returncode}"] if call.process.returncode not in (130, -signal.SIGTERM) else []
    if call.process.returncode == 130 and "The same command continues from here" not in call.errors() and place:
        faults.append(f"no word on how to go on: {call.errors()[-300:]}")
    if TRACEBACK in call.output():
        faults.append(f"a traceback: {call.output()[-2000:]}")
    return Strike(seconds, place, f"status {call.process.returncode}", tuple(faults))


def _ended(call: Call) -> tuple[str, tuple[str, ...]]:
    status = call.process.returncode
    return f"status {status}", () if status == 0 else (f"status {status}: {call.output()[-2000:]}",)


def _refused(call: Call, cause: str) -> tuple[str, tuple[str, ...]]:
    """What a call says that cannot go on: status 1, and the cause in words, without a traceback."""
    if not call.ends_within(PATIENCE):
        call.kill()
        return "", (f"not ended after {PATIENCE:.0f} s",)
    status, errors = call.process.returncode, call.errors()
    line = next((line.strip() for line in errors.splitlines() if re.search(cause, line, re.IGNORECASE)), "")
    faults = []
    if status == 0:
        faults.append("the call did not feel it")
    elif status != 1:
        faults.append(f"status {status}: {errors[-2000:]}")
    elif not line:
        faults.append(f"no line with the cause, {cause}: {errors[-3000:]}")
    if TRACEBACK in errors:
        faults.append(f"a traceback: {errors[-3000:]}")
    return f"status {status}: {line[:150]}", tuple(faults)


def _place(study: Study) -> str:
    return ", ".join(study.running()) or "no node"


def _place_at_end(study: Study, call: Call) -> str:
    """What was at work last."""
    place = ""
    while call.process.poll() is None and time.monotonic() - call.began < PATIENCE:
        place = _place(study) if study.running() else place
        time.sleep(0.2)
    return place or "no node"
