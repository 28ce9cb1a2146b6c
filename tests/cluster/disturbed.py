"""`smoke` on the cluster, once left alone and once with jobs that are killed in six places."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .studies import Job, Study, differences, kill, log, results, wait_until

PRESET = "smoke"


def disturbed_study(calm: Study, killed: Study, words: list[str]) -> list[str]:
    """What did not hold; nothing, if all did."""
    faults = []
    began = time.monotonic()
    if calm.finish(PRESET, *words) != 0:
        return [f"the undisturbed study failed:\n{calm.output()}"]
    log(f"undisturbed: finished after {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    faults += _interrupt(killed, words)
    faults += _lose_the_login_node(killed, words)
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


def _lose_the_login_node(study: Study, words: list[str]) -> list[str]:
    """kill -9 of the call; the next one waits for what runs, and submits nothing twice."""
    call = study.start(PRESET, *words)
    wait_until(lambda: _one_runs(study), "a job runs", 300)
    os.killpg(call.pid, signal.SIGKILL)
    call.wait()
    _end_orphans(study)
    before = study.active()
    status = study.call("status", PRESET)
    log(f"kill -9 of the call; jobs go on: {', '.join(f'{job.number} {job.rule} {job.state}' for job in before)}")
    second = study.start(PRESET, *words)
    wait_until(lambda: "Waiting for what an earlier call has running" in study.output(), "the next call waits", 60)
    faults = []
    while any(job.number in {b.number for b in before} for job in study.active()) and second.poll() is None:
        faults += _twice(study)
        time.sleep(0.5)
    log("the next call waited for what ran, and took what waited out of the queue")
    os.killpg(second.pid, signal.SIGINT)
    second.wait(120)
    return faults + (["status shows nothing that runs"] if "running" not in status else [])


def _kill_in_six_places(study: Study, words: list[str]) -> list[str]:
    """Kill a job in each place, and call again until the study is done."""
    places = dict(_places(study))
    calls = 0
    while calls < 4:
        calls += 1
        call = study.start(PRESET, *words)
        while call.poll() is None:
            for name, attempt in list(places.items()):
                if what := attempt():
                    log(f"killed while {name}: {what}")
                    del places[name]
            if twice := _twice(study):
                os.killpg(call.pid, signal.SIGKILL)
                return twice
            time.sleep(0.002 if "saving" in places else 0.1)
        log(f"call {calls}: status {call.returncode}")
        if call.returncode == 0:
            break
    faults = [f"nothing was killed while {name}" for name in places]
    return faults + ([f"not done after {calls} calls:\n{study.output()}"] if call.returncode else [])


def _places(study: Study) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Name of a place -> an attempt to kill a job there, which says what it has killed."""
    runs = study.root / "runs" / PRESET
    spared: set[str] = set()  # a job is killed once, a rule twice at most: the profile tries three times

    def running(prefix: str) -> list[Job]:
        return [
            job
            for job in study.jobs()
            if job.state == "RUNNING" and job.rule.startswith(prefix) and job.rule not in spared
        ]

    def pending() -> str | None:
        for job in study.jobs():
            if job.state == "PENDING" and job.rule.startswith("rule_run"):
                study.cancel(job.number)
                return f"job {job.number} {job.rule}, scancel"
        return None

    def starting() -> str | None:
        for job in running("rule_run"):
            if study.state(PRESET, _node(job)).get("job") != job.number:
                spared.add(job.rule)
                return f"job {job.number} {job.rule}, kill -9 of {kill(job.number)} processes"
        return None

    def training() -> str | None:
        for checkpoint in runs.glob("*/seed*/checkpoints/*"):
            run = checkpoint.parent.parent
            for job in running("rule_run"):
                if not (run / "model").exists() and _works_on(job, run, study):
                    study.cancel(job.number)
                    spared.add(job.rule)
                    return f"job {job.number} {job.rule}, scancel with {checkpoint.relative_to(runs)} there"
        return None

    def saving() -> str | None:
        for partial in runs.glob("*/seed*/model.partial"):
            number = _number_at_work(partial.parent)
            if number and kill(number) and partial.exists() and not (partial.parent / "model").exists():
                return f"job {number}, kill -9; {partial.relative_to(runs)} is left"
        return None

    def evaluating() -> str | None:
        for folder in runs.glob("*/seed*/mteb"):
            run = folder.parent
            for job in running("rule_run"):
                if not (run / "scores.json").exists() and _works_on(job, run, study):
                    spared.add(job.rule)
                    return f"job {job.number} {job.rule}, kill -9 of {kill(job.number)} processes"
        return None

    def notebook() -> str | None:
        for job in running("rule_analysis"):
            name = job.rule.removeprefix("rule_analysis_wildcards_")
            if (study.root / "reports" / PRESET / "notebooks" / f".{name}.running.ipynb").exists():
                study.cancel(job.number)
                return f"job {job.number} {job.rule}, scancel"
        return None

    yield "saving", saving
    yield "pending", pending
    yield "starting", _now_and_then(starting)
    yield "training", _now_and_then(training)
    yield "evaluating", _now_and_then(evaluating)
    yield "notebook", _now_and_then(notebook)


def _now_and_then(attempt: Callable[[], str | None], every: float = 0.3) -> Callable[[], str | None]:
    """The attempt, at most as often: it asks Slurm, and another one must see files that are there for an instant."""
    last = [0.0]

    def seldom() -> str | None:
        if time.monotonic() - last[0] < every:
            return None
        last[0] = time.monotonic()
        return attempt()

    return seldom


def _node(job: Job) -> str:
    variant, _, seed = job.rule.removeprefix("rule_run_").rpartition("_")
    return f"{variant}/{seed}"


def _works_on(job: Job, run: Path, study: Study) -> bool:
    """Whether the job's process holds the lock of the run's folder."""
    return _number_at_work(run) == job.number


def _number_at_work(run: Path) -> str | None:
    """The job of the process that has the run's lock."""
    answer = subprocess.run(["fuser", run / ".lock"], capture_output=True, text=True)
    for pid in answer.stdout.split():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for word in variables:
            if word.startswith(b"SLURM_JOB_ID="):
                return word.partition(b"=")[2].decode()
    return None


def _one_runs(study: Study) -> bool:
    return any(job.state == "RUNNING" and job.rule.startswith("rule_run") for job in study.jobs())


def _twice(study: Study) -> list[str]:
    rules = [job.rule for job in study.active() if job.state != "COMPLETING"]
    return [f"two jobs of {rule} at once" for rule in sorted({r for r in rules if rules.count(r) > 1})]


def _end_orphans(study: Study) -> None:
    """Snakemake has a session of its own, and dies with the call; wait for that."""

    def left() -> bool:
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        mine = (line for line in listing.splitlines() if f"--directory {study.root} " in line)
        return any("--executor" not in line and "slurm-jobstep" not in line for line in mine)

    wait_until(lambda: not left(), "Snakemake has died with the call", 30)
