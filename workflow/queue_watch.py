"""The jobs of a study while Snakemake waits for them: what is queued, what ended badly, what an earlier call left."""

import time
from collections.abc import Callable
from pathlib import Path

import node_states
import nodes

from study import paths, slurm

EVERY = 5.0  # seconds between two questions to Slurm
EXPECTED = ("None", "Priority", "Resources", "BeginTime")  # reasons for which any job waits


class Queue:
    """The jobs of one study in one checkout.

    Args:
        graph: Of the preset.
    """

    def __init__(self, graph: nodes.RunGraph):
        self.graph = graph
        self.name = slurm.name_of(graph.preset, paths.ROOT)
        self.logs = node_states.log_dir(graph.preset) / "slurm"
        self.failed: dict[str, slurm.Job] = {}  # node -> its last job, where that ended badly
        self._of_rule = {_comment(node): node for node in graph.outputs}
        self._shown: dict[str, tuple[str, str]] = {}
        self._next = 0.0

    def node_of(self, job: slurm.Job) -> str:
        """The node that a job works on; the job's own comment if it is none of this graph."""
        return self._of_rule.get(job.comment, job.comment)

    def active(self) -> list[slurm.Job]:
        """The study's jobs that wait or run; none where squeue does not answer."""
        return [job for job in slurm.jobs(self.name) or [] if job.active]

    def waiting(self, states: dict[str, dict]) -> dict[str, str]:
        """Node -> "queued", or "starting" where its job runs and the node has not said so yet.

        Args:
            states: As `node_states.read_states` returns them.
        """
        found = {}
        for job in self.active():
            node = self.node_of(job)
            if job.state == "PENDING":
                found[node] = "queued"
            elif states.get(node, {}).get("job") != job.number:
                found[node] = "starting"
        return found

    def describe(self, job: slurm.Job) -> str:
        """A job in words, for example "em/seed0 (job 17, running on node1)"."""
        place = f" on {job.hosts}" if job.hosts else ""
        return f"{self.node_of(job)} (job {job.number}, {job.state.lower()}{place})"

    def forget_earlier(self) -> None:
        """Do not show jobs that ended before this call."""
        self._shown = {job.number: (job.state, job.reason) for job in slurm.jobs(self.name) or []}

    def show(self, line: Callable[[str, str, str], None], session: str, *, now: bool = False) -> None:
        """A line for a job that is queued, or waits for an unusual reason, and for one that ended badly.

        Args:
            line: Prints what happened, to which node, and how.
            session: Of this call; a node that wrote its own end in it needs no second line.
            now: Ask even if Slurm was asked just before.
        """
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        states = node_states.read_states(self.graph.preset)
        for job in slurm.jobs(self.name) or []:
            node, before = self.node_of(job), self._shown.get(job.number)
            self._shown[job.number] = (job.state, job.reason)
            if job.state == "PENDING":
                if before is None or (before[1] != job.reason and job.reason not in EXPECTED):
                    line("queued", node, f"job {job.number}" + (f" ({job.reason})" if job.reason != "None" else ""))
            elif job.failed and (before is None or before[0] != job.state):
                self.failed[node] = job
                if not _said_so(states.get(node, {}), session, job):
                    line("failed", node, f"job {job.number} {job.state.lower()} {'on ' * bool(job.hosts)}{job.hosts}")
            elif not job.failed:
                self.failed.pop(node, None)

    def settle(self, wait: Callable[[float], None]) -> None:
        """Wait until no job of an earlier call is left, so that none is submitted twice; those that wait are cancelled.

        Args:
            wait: Sleeps for some seconds.
        """
        left = self.active()
        waiting = [job for job in left if job.state == "PENDING"]
        if waiting and slurm.cancel(waiting):
            print("Taken out of the queue, from an earlier call: " + ", ".join(map(self.describe, waiting)), flush=True)
        running = [job for job in left if job not in waiting]
        if running:
            named = ", ".join(map(self.describe, running))
            print(f"Waiting for what an earlier call has running (an interrupt ends it): {named}", flush=True)
        while self.active():
            wait(EVERY)

    def end(self, seconds: float) -> bool:
        """Cancel the study's jobs, queued and running, and wait for their end; whether none is left.

        Args:
            seconds: That the running ones have to end their commands.
        """
        end, cancelled = time.monotonic() + seconds, set()
        while left := self.active():
            new = [job for job in left if job.number not in cancelled]
            if new:
                print("Cancelling " + ", ".join(map(self.describe, new)), flush=True)
                slurm.cancel(new)
                cancelled |= {job.number for job in new}
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return True

    def last_words(self, job: slurm.Job, count: int) -> tuple[Path | None, list[str]]:
        """The log of a job that failed before its node had one, and its last lines."""
        log = slurm.log_of(self.logs, job)
        text = log.read_text(errors="replace") if log else ""
        return log, [line for line in text.splitlines() if line.strip()][-count:]


def _comment(node: str) -> str:
    """What the executor writes into a job's comment, as the Snakefile names its rules."""
    if node.endswith(nodes.TRAINING):
        variant, seed, _ = node.split("/")
        return f"rule_train_{variant}_{seed}"
    if "/" in node:
        return f"rule_run_{node.replace('/', '_')}"
    if node.startswith("data"):
        return f"rule_{node.replace('-', '_')}"
    return f"rule_analysis_wildcards_{node}"


def _said_so(state: dict, session: str, job: slurm.Job) -> bool:
    ours = state.get("session") == session and state.get("job") == job.number
    return ours and state["state"] in ("failed", "interrupted")
