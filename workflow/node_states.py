"""What each execution of a node leaves on disk: its log, and its state for `scheduler.py` to show, on any machine."""

import json
import os
import time
from pathlib import Path

from study import paths, slurm
from tsembed.files import write_text

HEADING = "=== "  # of one execution in a log


def log_dir(preset: str) -> Path:
    """Folder of the preset's logs and states; it need not be there yet."""
    return paths.RUNS / preset / "logs"


def log_of(preset: str, node: str) -> Path:
    """The file that a node's output goes to; slashes of its name are dots there."""
    return log_dir(preset) / f"{node.replace('/', '.')}.log"


def begin_log(preset: str, node: str, command: list[str]) -> Path:
    """The log, kept from earlier executions, with a heading for this one."""
    log = log_of(preset, node)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"{HEADING}{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(command)}\n")
    return log


def last_output(log: Path) -> str:
    """What the last execution has written."""
    text = log.read_text(errors="replace").rpartition(HEADING)[2]
    return text.partition("\n")[2]


def read_states(preset: str) -> dict[str, dict]:
    """Node -> {state, started, ended, pid, host, job, session} of its last execution; times in seconds since 1970.

    A node that was killed left "running" behind: its state is "killed". On another machine Slurm knows.
    """
    states = {}
    for path in log_dir(preset).glob("*.json"):
        state = _read_state(path)
        if state and state["state"] == "running" and not _alive(state):
            state = _read_state(path)  # once more: it may have ended in between
            state = state | {"state": "killed"} if state and state["state"] == "running" else state
        if state:
            states[state["node"]] = state
    return states


def _read_state(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # being replaced just now
        return None


def write_state(preset: str, node: str, **state) -> None:
    """Replace the node's state file, whole, by one with these fields and the node's name."""
    write_text(log_of(preset, node).with_suffix(".json"), json.dumps({"node": node, **state}) + "\n")


def forget_state(preset: str, node: str) -> None:
    """Remove the node's state file: its mark alone says that it is done."""
    log_of(preset, node).with_suffix(".json").unlink(missing_ok=True)


def _alive(state: dict) -> bool:
    if state["host"] != os.uname().nodename:
        job = state.get("job")  # on another machine of the cluster; its own end is written there, unless it was killed
        return not (job and slurm.has_ended(job))
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
