"""`smoke` on the cluster, once left alone and once with jobs that are killed in six places."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.studies import copy_data, differences, log, results, wait_until

from .studies import Job, Study, kill

PRESET = "smoke"
_RUN_PLACES = {"pending", "starting", "training", "saving", "evaluating"}
CALLS = 6  # a job that is killed three times is a failure of its call


def disturbed_study(calm: Study, killed: Study, words: list[str]) -> list[str]:
    """What did not hold; nothing, if all did."""
    faults = []
    began = time.monotonic()
    plan = calm.call("plan", PRESET, *words)
    runs = re.findall(r"^(?:would run|done) +(\S+/seed\d+) ", plan + "\n", re.MULTILINE)
    calm.finish_runs(PRESET, runs, *words)
    log(f"undisturbed: {len(runs)} runs after {time.monotonic() - began:.0f} s")
    copy_data(PRESET, calm.root, killed.root)
    began = time.monotonic()
    faults += _interrupt(killed, words)
    faults += _kill_in_six_places(killed, words)
    log(f"disturbed: finished after {time.monotonic() - began:.0f} s")
    expected, found = (results(study.root, PRESET) for study in (calm, killed))
    faults += [f"not as in the undisturbed study: {name}" for name in differences(expected, found)]
    log(f"{len(expected)} results (scores, weights, tables of probes) compared with those of the undisturbed study")
    if left := killed.active():
        faults.append(f"jobs are left: {left}")
    if "Nothing to do" not in (again := killed.call(PRESET, "--profile", "slurm", *words)):
        faults.append(f"a further call does something:\n{again}")
    return faults


def _interrupt(study: Study, words: list[str]) -> list[str]:
    """Ctrl-C with a job that runs and one that waits: both are cancelled, and named."""
    call = study.start(PRESET, *words)
    wait_until(lambda: _one_runs(study), "a job runs", 300)
    numbers = [job.number for job in study.active()]
    os.killpg(call.pid, signal.SIGINT)
    code = call.wait(120)
    log(f"Ctrl-C with jobs {', '.join(numbers)}: status {code}, {len(study.active())} jobs left")
    unnamed = [number for number in numbers if f"job {number}," not in study.output()]
    return [f"Ctrl-C: {text}" for text in [*map(str, study.active()), *(f"{n} is not named" for n in unnamed)]]


def _kill_in_six_places(study: Study, words: list[str]) -> list[str]:
    """Kill a job in each place, and the call itself once; call again until the study is done."""
    places = _Places(study)
    left, calls, twice, orphan = places.attempts(), 0, [], None
    while calls < CALLS:
        calls, checked = calls + 1, 0.0
        call = study.start(PRESET, *words)
        while call.poll() is None:
            for name, attempt in list(left.items()):
                if what := attempt():
                    log(f"killed while {name}: {what}")
                    places.killed = time.monotonic()
                    del left[name]
            if time.monotonic() - checked > 0.5:
                places.look()
                twice += [rule for rule in _twice(study) if rule not in twice]
                checked = time.monotonic()
            time.sleep(0.002 if "saving" in left else 0.1)
            if orphan is None and not _RUN_PLACES & left.keys() and (at_work := places.at_work()):
                orphan = _lose_the_login_node(study, call, at_work[0])
                places.spared = orphan.number
        log(f"call {calls}: status {call.returncode}")
        if call.returncode == 0:
            break
    faults = twice + [f"nothing was killed while {name}" for name in left] + _orphan_faults(study, orphan)
    return faults + ([f"not done after {calls} calls:\n{study.output()}"] if call.returncode else [])


def _lose_the_login_node(study: Study, call: subprocess.Popen, running: Job) -> Job:
    """kill -9 of the call while a job runs, which goes on."""
    os.killpg(call.pid, signal.SIGKILL)
    call.wait()
    rows = [line.split() for line in study.call("status", PRESET).splitlines()]
    word = next(row[0] for row in rows if row[1:2] == [_node(running)])
    log(f"kill -9 of the call; job {running.number} {running.rule} goes on, and status says {word}")
    return running


def _orphan_faults(study: Study, orphan: Job | None) -> list[str]:
    """The next call waited for the job, and did not do its work again."""
    if orphan is None:
        return ["the call itself was not killed"]
    of_rule = [(job.number, job.state) for job in study.jobs() if job.rule == orphan.rule]
    log(f"jobs of {orphan.rule}: {', '.join(f'{number} {state.lower()}' for number, state in of_rule)}")
    if "Waiting for what an earlier call has running" not in study.output():
        return ["the next call did not wait for the job that ran"]
    done = [number for number, state in of_rule if state == "COMPLETED"]
    return [] if done == [orphan.number] else [f"{orphan.rule} was completed by {done}, not by {orphan.number} alone"]


class _Places:
    """An attempt per place to kill a job there: each says what it has killed, or None where there was no chance."""

    def __init__(self, study: Study):
        self.study, self.runs = study, study.root / "runs" / PRESET
        self.workers: dict[Path, _Worker] = {}
        self.killed = time.monotonic()  # when a job was killed last
        self.spared = ""  # number of a job that must come to its end

    def saving(self) -> str | None:
        """The folder of a model is there under its first name: an instant, so the process is looked up before."""
        for partial in self.runs.glob("*/seed*/model.partial"):
            if (worker := self.workers.get(partial.parent)) is None:
                continue
            try:
                os.kill(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kill(worker.job)
            if partial.exists() and not (partial.parent / "model").exists():
                return f"job {worker.job}, kill -9; {partial.relative_to(self.runs)} is left"
        return None

    def look(self) -> None:
        """Note who works on which run."""
        runs = [lock.parent for lock in self.runs.glob("*/seed*/.lock") if not (lock.parent / "model").exists()]
        self.workers = {run: worker for run in runs if (worker := _worker(run))}

    def pending(self) -> str | None:
        for job in self.study.jobs():
            if job.state == "PENDING" and job.rule.startswith("rule_run"):
                self.study.cancel(job.number)
                return f"job {job.number} {job.rule}, scancel"
        return None

    def starting(self) -> str | None:
        """The job runs, and its node has not begun."""
        for job in self.running("rule_run"):
            if self.study.state(PRESET, _node(job)).get("job") != job.number and (killed := kill(job.number)):
                return f"job {job.number} {job.rule}, kill -9 of {killed} processes"
        return None

    def training(self) -> str | None:
        for checkpoint in self.runs.glob("*/seed*/checkpoints/*[0-9]"):
            run = checkpoint.parent.parent
            for job in self.running("rule_run"):
                if not (run / "model").exists() and _job_of(run) == job.number:
                    self.study.cancel(job.number)
                    return f"job {job.number} {job.rule}, scancel; {checkpoint.relative_to(self.runs)} is there"
        return None

    def evaluating(self) -> str | None:
        for folder in self.runs.glob("*/seed*/mteb"):
            run = folder.parent
            for job in self.running("rule_run"):
                if not (run / "scores.json").exists() and _job_of(run) == job.number:
                    return f"job {job.number} {job.rule}, kill -9 of {kill(job.number)} processes"
        return None

    def notebook(self) -> str | None:
        for job in self.running("rule_analysis"):
            name = job.rule.removeprefix("rule_analysis_wildcards_")
            if (self.study.root / "reports" / PRESET / "notebooks" / f".{name}.running.ipynb").exists():
                self.study.cancel(job.number)
                return f"job {job.number} {job.rule}, scancel"
        return None

    def attempts(self) -> dict[str, Callable[[], str | None]]:
        """Place -> attempt; that of an instant is cheap, the others are made now and then."""
        others = (self.pending, self.starting, self.training, self.evaluating, self.notebook)
        return {"saving": self.saving} | {attempt.__name__: _now_and_then(attempt) for attempt in others}

    def at_work(self) -> list[Job]:
        """Jobs whose nodes say that they run, some seconds after the last kill: none that is about to be found dead."""
        if time.monotonic() - self.killed < 5:
            return []
        return [job for job in self.running("rule_") if _is_at_work(job, self.study.state(PRESET, _node(job)))]

    def running(self, prefix: str) -> list[Job]:
        jobs = [job for job in self.study.jobs() if job.number != self.spared]
        return [job for job in jobs if job.state == "RUNNING" and job.rule.startswith(prefix)]


def _now_and_then(attempt: Callable[[], str | None], every: float = 0.3) -> Callable[[], str | None]:
    last = [0.0]

    def seldom() -> str | None:
        if time.monotonic() - last[0] < every:
            return None
        last[0] = time.monotonic()
        return attempt()

    return seldom


def _node(job: Job) -> str:
    if job.rule.startswith("rule_analysis"):
        return job.rule.removeprefix("rule_analysis_wildcards_")
    variant, _, seed = job.rule.removeprefix("rule_run_").rpartition("_")
    return f"{variant}/{seed}"


def _is_at_work(job: Job, state: dict) -> bool:
    return state.get("job") == job.number and state.get("state") == "running"


class _Worker(NamedTuple):
    pid: int
    job: str


def _worker(run: Path) -> _Worker | None:
    """The process that has the run's lock open, and its job."""
    answer = subprocess.run(["fuser", run / ".lock"], capture_output=True, text=True)
    for pid in answer.stdout.split():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for word in variables:
            if word.startswith(b"SLURM_JOB_ID="):
                return _Worker(int(pid), word.partition(b"=")[2].decode())
    return None


def _job_of(run: Path) -> str | None:
    worker = _worker(run)
    return worker.job if worker else None


def _one_runs(study: Study) -> bool:
    return any(job.state == "RUNNING" and job.rule.startswith("rule_run") for job in study.jobs())


def _twice(study: Study) -> list[str]:
    rules = [job.rule for job in study.active() if job.state != "COMPLETING"]
    return [f"two jobs of {rule} at once" for rule in sorted({r for r in rules if rules.count(r) > 1})]
