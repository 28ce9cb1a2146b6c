"""A copy of the checkout whose studies run on the cluster, and what is read of it while they do."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from tests import checkout, studies


def copy_checkout(root: Path) -> Path:
    """The checkout without what has run in it, with a profile for nodes of one CPU, as a cluster's user edits it."""
    studies.copy_checkout(root)
    profile = root / "workflow" / "profiles" / "slurm" / "config.yaml"
    content = yaml.safe_load(profile.read_text())
    content |= {"cores": 1, "latency-wait": 10, "slurm-init-seconds-before-status-checks": 5}
    profile.write_text(yaml.safe_dump(content))
    return root


class Job(NamedTuple):
    number: str
    state: str
    rule: str


class Study:
    """Calls of run_all.sh in one checkout, and the jobs that they have submitted."""

    def __init__(self, root: Path, variables: dict[str, str]):
        self.root = root
        cluster = {"SLURM_CONF": variables["SLURM_CONF"], "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        self.variables = checkout.environment(**cluster)
        self.variables.pop("TMPDIR", None)
        self.calls: list[subprocess.Popen] = []

    def start(self, preset: str, *words: str, **more: str) -> subprocess.Popen:
        output = (self.root / "calls.log").open("ab")
        call = subprocess.Popen(
            [self.root / "run_all.sh", preset, "--profile", "slurm", *words],
            env=self.variables | more,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.calls.append(call)
        return call

    def finish_runs(self, preset: str, names: Sequence[str], *words: str, **more: str) -> None:
        """Call until these runs are done, and no longer.

        Raises:
            RuntimeError: If the call ends before.
        """
        if not self.done(preset, names):
            self.wait_for_runs(self.start(preset, *words, **more), preset, names)

    def wait_for_runs(self, call: subprocess.Popen, preset: str, names: Sequence[str]) -> None:
        """Wait for the runs of a call, and interrupt it then.

        Raises:
            RuntimeError: If the call ends before.
        """
        while not self.done(preset, names):
            if call.poll() is not None:
                raise RuntimeError(f"the call ended with status {call.returncode}:\n{self.output()}")
            time.sleep(0.5)
        self.end()

    def done(self, preset: str, names: Sequence[str]) -> bool:
        """Whether each of these runs has its mark: that of its notebook where several share a process."""
        folders = [self.root / "runs" / preset / name for name in names]
        return all(any((f / mark).is_file() for mark in ("done.json", "10_train.ipynb.done")) for f in folders)

    def end(self) -> None:
        """Interrupt what still runs of the calls."""
        for call in self.calls:
            if call.poll() is None:
                os.killpg(call.pid, signal.SIGINT)
                call.wait()

    def finish(self, preset: str, *words: str, **more: str) -> int:
        return self.start(preset, *words, **more).wait()

    def call(self, *words: str) -> str:
        answer = subprocess.run(
            [self.root / "run_all.sh", *words], env=self.variables, cwd=self.root, capture_output=True, text=True
        )
        return answer.stdout + answer.stderr

    def output(self) -> str:
        return (self.root / "calls.log").read_text(errors="replace")

    def jobs(self) -> list[Job]:
        """All jobs of this checkout that Slurm remembers."""
        asked = ["squeue", "--states=all", "-h", "-o", "%i|%T|%k|%Z"]
        answer = subprocess.run(asked, env=self.variables, capture_output=True, text=True).stdout
        rows = (line.split("|") for line in answer.splitlines())
        return [Job(*row[:3]) for row in rows if row[3:] == [str(self.root)]]

    def active(self) -> list[Job]:
        return [job for job in self.jobs() if job.state in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING")]

    def cancel(self, number: str) -> None:
        subprocess.run(["scancel", number], env=self.variables, check=True)

    def state(self, preset: str, node: str) -> dict:
        path = self.root / "runs" / preset / "logs" / f"{node.replace('/', '.')}.json"
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            return {}


def kill(number: str) -> int:
    """End all processes of a job at once, as where a node loses its power; how many they were."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLURM_JOB_ID={number}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(found)
