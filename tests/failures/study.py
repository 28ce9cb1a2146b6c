"""Calls of run_all.sh in one checkout, one after the other, and what is there after each."""

import json
import os
import signal
import subprocess
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests import checkout
from tests.studies import processes

LEFT = 30.0  # seconds after which nothing of a call that has ended may be left


class Call:
    """`./run_all.sh PRESET …` in a session of its own, with its output in files.

    Args:
        root: The checkout.
        words: What follows run_all.sh.
        before: Called in the new process.
    """

    def __init__(self, root: Path, words: list[str], before: Callable[[], None] | None = None):
        self.root, self.began = root, time.monotonic()
        self.files = [root / f"call.{name}" for name in ("out", "err")]
        with self.files[0].open("w") as out, self.files[1].open("w") as err:
            self.process = subprocess.Popen(
                [root / "run_all.sh", *words],
                env=checkout.environment(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES=""),
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=before,
            )

    def ends_within(self, seconds: float) -> bool:
        """Whether the call ends in this time from its start on."""
        try:
            self.process.wait(max(0.0, self.began + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """kill -9 of the process group, as where a machine is switched off."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def errors(self) -> str:
        return self.files[1].read_text(errors="replace")

    def output(self) -> str:
        return self.files[0].read_text(errors="replace") + self.errors()


class Study:
    """One preset in one checkout.

    Args:
        root: The checkout.
        preset: A name in configs/presets.
        words: Of every call, behind the preset.
    """

    def __init__(self, root: Path, preset: str, words: tuple[str, ...] = ()):
        self.root, self.preset, self.words = root, preset, words
        self.runs = root / "runs" / preset

    def start(self, before: Callable[[], None] | None = None) -> Call:
        return Call(self.root, [self.preset, *self.words], before)

    def states(self) -> dict[str, dict]:
        """Node -> what its last execution has written."""
        found = {}
        for path in (self.runs / "logs").glob("*.json"):
            state = json.loads(path.read_text())
            found[state["node"]] = state
        return found

    def running(self) -> list[str]:
        """The nodes at work, each with the last line of its log."""
        found = []
        for node, state in sorted(self.states().items()):
            if state["state"] == "running" and Path(f"/proc/{state['pid']}").exists():
                log = self.runs / "logs" / f"{node.replace('/', '.')}.log"
                line = (log.read_text(errors="replace").rstrip().splitlines() or [""])[-1]
                found.append(node if line.startswith("=== ") else f"{node} ({line.strip()[:40]})")
        return found

    def finished(self) -> dict[str, object]:
        """What must not be done again: nodes with the call that they were done in, and runs with their done.json.

        A node counts when Snakemake has noted its end, some tenths of a second after it: one that is killed in
        between is started again, and a run then finds that it is done.
        """
        unsure = self._incomplete()
        states = self.states().items()
        nodes = {node: state["session"] for node, state in states if state["state"] == "done" and node not in unsure}
        marks = self.runs.glob("*/seed*/done.json")
        return nodes | {str(mark.parent.relative_to(self.runs)) + "/done.json": mark.read_text() for mark in marks}

    def done_again(self, finished: dict[str, object]) -> list[str]:
        """What was finished then and has been done since."""
        now: dict[str, object] = {node: state["session"] for node, state in self.states().items()}
        marks = [self.runs / name for name in finished if name.endswith("/done.json")]
        now |= {str(mark.relative_to(self.runs)): mark.read_text() for mark in marks if mark.is_file()}
        return [name for name, value in finished.items() if now.get(name) != value]

    def nodes(self) -> int:
        """How many nodes are finished."""
        return sum(not name.endswith("/done.json") for name in self.finished())

    def left(self) -> tuple[list[str], float]:
        """What is still alive of the checkout when it should not be, and the seconds until nothing was."""
        began = time.monotonic()
        while (found := processes(self.root)) and time.monotonic() - began < LEFT:
            time.sleep(0.1)
        return sorted(found.values()), time.monotonic() - began

    def end(self) -> None:
        """Kill what is left."""
        for pid in processes(self.root):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _incomplete(self) -> set[str]:
        """The nodes that Snakemake believes to be at work, or to have been when it was killed."""
        names = (urlsafe_b64decode(path.name).decode() for path in (self.root / ".snakemake" / "incomplete").glob("*"))
        return {_node_of(Path(name)) for name in names}


def _node_of(output: Path) -> str:
    """The node that writes a mark, as workflow/nodes.py names them."""
    if output.name == "index.html":
        return "site"
    if output.parent.name == "notebooks":
        return output.name.removesuffix(".ipynb.done")
    return str(Path(*output.parent.parts[2:]))
