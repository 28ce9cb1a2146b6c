"""Runs, plans and shows a study: Snakemake decides what runs, this file says what happens.

`python scheduler.py run|plan|status|fetch PRESET [--data=PATH] [--jobs=N] [--profile=NAME]`, in the environment.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import disks
import environment
import marks
import messages
import node_states
import nodes
import snakemake_command
from cli import OFFLINE
from expected import expected
from queue_watch import Queue

from study import paths, presets, selection
from study.process import launcher
from study.runs.launch import nodes_per_training, processes_per_node

GRACE = 25.0  # seconds that the nodes have to end their commands
NOT_DONE = ("failed", "interrupted", "killed")  # ends of a node's last execution
LAST_WORDS = 2.0  # seconds from the state that a node writes to the end of its process


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP has come; its number is the argument."""


def run(graph: nodes.RunGraph, options: argparse.Namespace, only: Sequence[str] = ()) -> int:
    """Exit status: 0 done, 1 a node failed, 130 interrupted.

    Args:
        graph: What is run.
        options: Of the call.
        only: Nodes; all of them by default.
    """
    lock = paths.RUNS / ".lock"
    with environment.locked(lock) as free:
        if not free:
            print(
                f"run_all.sh: already running in this checkout: {lock.read_text(encoding='utf-8').strip()}",
                file=sys.stderr,
            )
            return 1
        lock.write_text(f"preset {graph.preset}, process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        return _run(graph, options, only)


def fetch(graph: nodes.RunGraph, options: argparse.Namespace) -> int:
    """Exit status, as `run`: prepares the data, and downloads what else the runs read of a network."""
    if code := run(graph, options, list(graph.data_nodes)):
        return code
    folder = ["--data", graph.data] if graph.data else []
    try:
        return subprocess.run([sys.executable, "-m", "study", "fetch", graph.preset, *folder]).returncode
    except Interrupted:
        return 130


def plan(graph: nodes.RunGraph, options: argparse.Namespace) -> int:
    """Print every node with what would happen to it and why."""
    answer = subprocess.run(snakemake_command.command(graph, options, "--dry-run"), capture_output=True, text=True)
    if answer.returncode != 0:
        print(f"run_all.sh: {snakemake_command.error(answer.stdout + answer.stderr)}", file=sys.stderr)
        return 1
    reasons = snakemake_command.reasons(answer.stdout + answer.stderr)
    for node, output in graph.outputs.items():
        reason = reasons.get(str(output))
        print(f"{'would run' if reason else 'done':10} {node:28} {reason or ''}".rstrip())
    for remark in presets.remarks(graph.settings):
        print(f"note: {remark}")
    print(f"{len(reasons)} of {len(graph.outputs)} nodes would run")
    if time_needed := expected(graph, [node for node, output in graph.outputs.items() if str(output) in reasons]):
        print(f"their runs take about {time_needed.seconds / 60:.0f} minutes, by {time_needed.source}")
    return 0


def status(graph: nodes.RunGraph) -> int:
    """Print every node: done, running, queued, failed or missing, with its time."""
    states, queue = node_states.read_states(graph.preset), Queue(graph)
    waiting = queue.waiting(states)
    for node, output in graph.outputs.items():
        state = {} if node in waiting else states.get(node, {})
        word = waiting.get(node) or state.get("state", "missing")
        if word not in ("running", "queued", "starting"):
            mark = paths.ROOT / output
            again = state.get("state") in NOT_DONE  # a finished node, run again
            complete = mark.is_file() and not (again and mark.stat().st_mtime < state["started"])
            word = "done" if complete else "missing" if word == "done" else word
        known = state and word != "missing"
        spent = messages.duration(state.get("ended", time.time()) - state["started"]) if known else ""
        silent = word in ("done", "missing", "queued", "starting")
        log = "" if silent else node_states.log_of(graph.preset, node).relative_to(paths.ROOT)
        print(f"{word:11} {node:28} {spent:>9}  {log}".rstrip())
    return 0


def _run(graph: nodes.RunGraph, options: argparse.Namespace, only: Sequence[str]) -> int:
    logs, began, session = node_states.log_dir(graph.preset), time.time(), f"{os.getpid()}-{time.time_ns()}"
    logs.mkdir(parents=True, exist_ok=True)
    variables = os.environ | (OFFLINE if graph.offline else {}) | {"TSEMBED_SESSION": session}
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    shown: dict[str, tuple[float, str]] = {}
    queue = Queue(graph) if options.profile == "slurm" else None
    process = None
    try:
        if queue:
            queue.settle(time.sleep)
            queue.forget_earlier()
        if ahead := marks.leave_the_future(graph):
            print(
                f"The clock was set back: {len(ahead)} nodes were done in the future, and count as done now", flush=True
            )
        marks.note(graph)
        words = snakemake_command.command(graph, options, *(str(graph.outputs[node]) for node in only))
        with (logs / "snakemake.log").open("wb") as sink:
            process = subprocess.Popen(
                launcher("exec", *words),
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while process.poll() is None:
            time.sleep(0.2)
            messages.show(graph, session, shown)
            if queue:
                queue.show(messages.say, session)
    except Interrupted as interrupt:
        print("\nInterrupted: ending what runs …", flush=True)
        if process:
            _end(graph, session, process)
        if queue:
            _leave(queue, interrupt.args[0])
        if not (queue and interrupt.args[0] == signal.SIGHUP):  # then jobs go on, and may still write their marks
            marks.put_back(graph.preset)
        print("Interrupted. The same command continues from here.", file=sys.stderr)
        return 130
    messages.show(graph, session, shown)
    if queue:
        queue.show(messages.say, session, now=True)
    marks.put_back(graph.preset)
    return _conclude(graph, session, process.returncode, time.time() - began, queue, only)


def _leave(queue: Queue, signum: int) -> None:
    """Cancel the study's jobs; where the connection was lost, leave them: the next call waits for what runs by then."""
    if signum == signal.SIGHUP:
        return
    if not queue.end(GRACE) and (left := queue.active()):
        print(f"Still there; end them with scancel: {', '.join(map(queue.describe, left))}", file=sys.stderr)


def _conclude(
    graph: nodes.RunGraph, session: str, code: int, seconds: float, queue: Queue | None, only: Sequence[str]
) -> int:
    states = {n: s for n, s in node_states.read_states(graph.preset).items() if s["session"] == session}
    failed = [n for n, s in states.items() if s["state"] != "done"]
    jobs = {n: job for n, job in queue.failed.items() if n not in states and not _is_there(graph, n)} if queue else {}
    if code == 0 and not failed:
        for node, state in node_states.read_states(graph.preset).items():
            if state["state"] in NOT_DONE and node in (only or graph.outputs):
                node_states.forget_state(graph.preset, node)  # done, as before the change that it failed for
        page = (paths.ROOT / graph.outputs["site"]).relative_to(paths.ROOT)
        what = ", ".join(only) or page
        print(f"{'Finished' if states else 'Nothing to do'} after {messages.duration(seconds)}: {what}", flush=True)
        return 0
    if not failed and not jobs:
        text = (node_states.log_dir(graph.preset) / "snakemake.log").read_text(errors="replace")
        lines = disks.faults([text]) or [snakemake_command.error(text)]
        print(
            *(f"run_all.sh: {line}" for line in lines),
            f"log: {node_states.log_dir(graph.preset)}/snakemake.log",
            sep="\n",
            file=sys.stderr,
        )
        return 1
    for node in failed:
        log = node_states.log_of(graph.preset, node)
        messages.failure(node, log, node_states.last_output(log).splitlines())
    for node, job in jobs.items():
        log, lines = queue.last_words(job, messages.LAST_LINES)
        messages.failure(f"{node} (job {job.number} {job.state.lower()})", log, lines)
    failed += jobs
    missing = [n for n in graph.outputs if n not in failed and not _is_there(graph, n)]
    blocked = f"; {len(missing)} that depend on them did not run" if missing else ""
    print(f"\nrun_all.sh: {len(failed)} of {len(graph.outputs)} nodes failed{blocked}", file=sys.stderr)
    logs = [node_states.log_of(graph.preset, node) for node in states.keys() & failed]
    for line in disks.faults(map(node_states.last_output, logs)):
        print(f"run_all.sh: {line}", file=sys.stderr)
    return 1


def _is_there(graph: nodes.RunGraph, node: str) -> bool:
    return node in graph.outputs and (paths.ROOT / graph.outputs[node]).is_file()


def _end(graph: nodes.RunGraph, session: str, process: subprocess.Popen) -> None:
    """Snakemake at once, so that it starts nothing more; its nodes then end their commands (PR_SET_PDEATHSIG)."""
    process.kill()
    process.wait()
    end = time.monotonic() + GRACE
    signalled: set[int] = set()
    while here := [s["pid"] for s in _running(graph, session) if s["host"] == os.uname().nodename]:
        late = time.monotonic() > end
        for pid in here:
            with suppress(ProcessLookupError):  # it ended in between
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        signalled |= set(here)
        time.sleep(0.2)
    end = time.monotonic() + LAST_WORDS
    while any(map(_is_alive, signalled)) and time.monotonic() < end:  # a node writes its state and then ends
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _running(graph: nodes.RunGraph, session: str) -> list[dict]:
    states = node_states.read_states(graph.preset).values()
    return [s for s in states if s["session"] == session and s["state"] == "running"]


def _interrupt(signum, frame):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signum)


def _put_back_of_killed(preset: str) -> None:
    """The marks that a killed call had noted; those of a call that is at work are its own."""
    if not marks.folder(preset).is_dir():
        return
    with environment.locked(paths.RUNS / ".lock") as free:
        if free:
            marks.put_back(preset)


def _select(options: argparse.Namespace, folder: str) -> None:
    """Let the chosen part of the preset hold: for a run from now on, for a plan in this process alone."""
    only = tuple(name.strip() for name in options.only.split(",") if name.strip())
    choice = selection.Selection(only, int(options.seeds) if options.seeds else None)
    if options.command == "status":
        return
    before = os.environ.get(selection.VARIABLE)
    os.environ[selection.VARIABLE] = choice.dump()
    presets.load_preset(options.preset, folder or None)  # refuses an unknown variant before anything is written
    if options.command != "plan":
        selection.choose(options.preset, choice)
        os.environ.pop(selection.VARIABLE) if before is None else os.environ.update({selection.VARIABLE: before})


def _processes(options: argparse.Namespace) -> int:
    """Of one training, over its nodes, on a cluster; on one machine a run takes what there is, and 1 stands for it.

    Raises:
        ValueError: If there are several nodes and no cluster, or a variable is no whole number.
    """
    several = nodes_per_training()
    if options.profile == "slurm":
        return several * (processes_per_node() or 1)
    if several > 1 and options.command == "run":
        raise ValueError(f"TSEMBED_NODES={several} needs a cluster: give --profile slurm")
    return 1


def main() -> int:
    """Exit status of the command; 1 with one line on stderr where the preset or its data break a rule."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run", "plan", "status", "fetch"])
    parser.add_argument("preset")
    for name in ("data", "jobs", "profile", "only", "seeds"):
        parser.add_argument(f"--{name}", default="")
    options = parser.parse_args()
    try:
        if options.command != "status":
            _put_back_of_killed(options.preset)
        folder = options.data if options.command == "status" else nodes.folder_of_data(options.preset, options.data)
        graph = nodes.RunGraph(options.preset, folder, _processes(options))
        _select(options, folder)
        if options.command == "status":
            return status(graph)
        return {"run": run, "plan": plan, "fetch": fetch}[options.command](graph, options)
    except ValueError as error:
        print(f"run_all.sh: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if (line := disks.line_of(error)) is None:
            raise
        print(f"run_all.sh: {line}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
