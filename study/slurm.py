"""What a study asks of Slurm beside Snakemake: how its jobs stand, what a submission needs, and their end.

Asks squeue, which every cluster has; sacct only answers where there is accounting. Standard library only.
"""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ACTIVE = (
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "REQUEUED",
    "RESIZING",
    "SIGNALING",
)
_FIELDS = "%i|%T|%r|%N|%j|%k"  # id, state, reason, nodes, name, comment
_TIMEOUT = 30  # seconds
_AGE = 5.0  # seconds for which an answer of squeue is good enough


class Job(NamedTuple):
    """A job as squeue shows it.

    Attributes:
        number: Its id.
        state: PENDING, RUNNING, COMPLETED, FAILED, … in full.
        reason: Why it waits, or "None".
        hosts: The nodes that it has, in Slurm's notation; empty while it waits.
        name: That of the submission: `name_of` of the study, and Snakemake's number.
        comment: Snakemake's rule, with its wildcards.
    """

    number: str
    state: str
    reason: str
    hosts: str
    name: str
    comment: str

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    @property
    def failed(self) -> bool:
        """Whether it has ended without success."""
        return not self.active and self.state != "COMPLETED"


def name_of(preset: str, root: Path) -> str:
    """What the names of a study's jobs begin with, the same for every call in the same checkout."""
    place = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    return f"tsembed-{re.sub('[^A-Za-z0-9_-]', '-', preset)[:30]}-{place}"


def options(name: str, logs: Path) -> list[str]:
    """Of Snakemake's executor: its jobs' names, their logs, and which command says how they stand."""
    accounting = "accounting_storage/slurmdbd" in _output("scontrol", "show", "config")
    status = "sacct" if accounting and shutil.which("sacct") else "squeue"
    return ["--slurm-jobname-prefix", name, "--slurm-logdir", str(logs), "--slurm-status-command", status]


def parse(listing: str) -> list[Job]:
    """The jobs of squeue's answer; the comment comes last, as it alone may hold anything."""
    rows = (line.strip().split("|", 5) for line in listing.splitlines())
    return [Job(*row) for row in rows if len(row) == 6]


def jobs(name: str = "") -> list[Job] | None:
    """This user's jobs, ended ones too as long as Slurm knows them; None where squeue does not answer.

    Args:
        name: Only jobs whose names begin with it.
    """
    asked = ["squeue", f"--user={os.getuid()}", "--states=all", "--noheader", f"--format={_FIELDS}"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    return [job for job in parse(answer.stdout) if job.name.startswith(name)]


class _Memory:
    """The last answers of squeue in this process."""

    def __init__(self) -> None:
        self.asked = float("-inf")
        self.active: set[str] | None = None  # numbers of jobs that wait or run; None: squeue did not answer
        self.before: set[str] | None = None  # the same of the answer before


_memory = _Memory()


def has_ended(number: str) -> bool:
    """Whether a job is over, or forgotten; False where squeue does not answer, which may be so for a while.

    A process that has asked before says so after a second answer: a job that is being cancelled counts as ended while
    its commands still have some seconds to say how they end.
    """
    if time.monotonic() - _memory.asked > _AGE:
        listed = jobs()
        _memory.asked, _memory.before = time.monotonic(), _memory.active
        _memory.active = None if listed is None else {job.number for job in listed if job.active}
    if _memory.active is None or number in _memory.active:
        return False
    return _memory.before is None or number not in _memory.before


def cancel(ended: Iterable[Job]) -> bool:
    """Whether scancel took the jobs; no job is a success too."""
    numbers = [job.number for job in ended]
    if not numbers:
        return True
    try:
        return subprocess.run(["scancel", *numbers], capture_output=True, timeout=_TIMEOUT).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def log_of(logs: Path, job: Job) -> Path | None:
    """The file with a job's own output, which says why it failed before its node had a log."""
    return next(logs.rglob(f"{job.number}.log"), None)


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
