"""Breaks `tsembed/` and `study/` on purpose, one line at a time, and asks whether the tests see it.

    python -m tests.mutation            # all mutants; writes RESULTS.md beside this file
    python -m tests.mutation clip gate  # those with one of the words in their names; writes nothing

Each mutant of mutants.toml is applied to a copy of the tree in a temporary folder, where its tests run until the first
fails. It survives if none does. The status is 1 if a mutant survives, or if a test fails without any mutant.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = Path(__file__).with_name("mutants.toml")
RESULTS = Path(__file__).with_name("RESULTS.md")
LIMIT = 300  # seconds for the tests of one mutant
# Imported once, here: the tests run in forks of this process, which would each wait some seconds for them.
PRELOADED = ("torch", "transformers", "accelerate", "peft", "datasets", "pandas", "scipy.stats")
OUTCOMES = {
    0: "all pass",
    1: "fails",
    2: "interrupted",
    3: "internal error",
    4: "no such test",
    5: "no test",
}  # of pytest
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


class Mutant(NamedTuple):
    """A fault.

    Attributes:
        name: What the code then does, in some words.
        file: Path from the root.
        old: Text that stands exactly once in the file.
        new: What takes its place.
        tests: Node ids of the tests that should see it.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class Result(NamedTuple):
    """What the tests said.

    Attributes:
        mutant: The fault.
        outcome: "fails" if a test saw it.
        killer: The first test that failed.
        seconds: Of CPU, those of launched processes included that were waited for.
    """

    mutant: Mutant
    outcome: str
    killer: str
    seconds: float


def read() -> list[Mutant]:
    """The mutants, in the order of the file."""
    return [Mutant(**row | {"tests": tuple(row["tests"])}) for row in tomllib.loads(MUTANTS.read_text())["mutant"]]


def copy_tree(target: Path) -> None:
    """Copy what git knows or would know of the tree, reports aside."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, place = ROOT / name, target / name
        if source.is_file() and not name.startswith("reports/"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())


def run_tests(tree: Path, tests: Sequence[str], limit: float, *, say_why: bool = False) -> tuple[str, str]:
    """Outcome and first failing test of the tests in a copy of the tree, run in a fork of this process.

    Args:
        tree: The copy.
        tests: Node ids.
        limit: Seconds, of a clock.
        say_why: Print the end of pytest's output where a test fails; of what is no failure it is always printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        child = os.fork()
        if not child:
            _become_pytest(tree, tests, Path(folder), log)
        status = _wait(child, limit)
        said = (Path(folder) / "killer").read_text() if (Path(folder) / "killer").is_file() else ""
        if status and log.is_file() and (say_why or status != 1):
            print(log.read_text()[-3000:])
        return OUTCOMES.get(status, f"status {status}"), said


def _wait(child: int, limit: float) -> int:
    """Status of a process that leads its group, which is killed after so many seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become_pytest(tree: Path, tests: Sequence[str], folder: Path, log: Path) -> None:
    """Run the tests of the copy in this process, which has not imported anything of the checkout, and end it."""
    status = 3
    try:
        os.setsid()
        os.chdir(tree)
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
        os.environ |= {"PYTHONPATH": str(tree), "TSEMBED_ROOT": str(tree)}
        sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".").resolve() not in (ROOT, tree))]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "tsembed", "study")]:
            del sys.modules[name]
        import pytest

        words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", f"--basetemp={folder / 'base'}"]
        preloaded = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"  # plugins among them
        status = pytest.main([*words, "-W", preloaded, *tests], plugins=[_Killer(folder / "killer", tree)])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Killer:
    """Plugin that writes down the first test that fails, and refuses to test another tree than the copy."""

    def __init__(self, path: Path, tree: Path):
        self.path, self.tree = path, tree

    def pytest_collection_finish(self) -> None:
        import tsembed

        assert Path(tsembed.__file__).is_relative_to(self.tree), f"{tsembed.__file__} is not in the copy"

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and not self.path.exists():
            self.path.write_text(report.nodeid)


def judge(tree: Path, mutant: Mutant) -> Result:
    """Apply a mutant to the copy, run its tests, and take it back."""
    place = tree / mutant.file
    sound = place.read_text()
    assert sound.count(mutant.old) == 1, f"{mutant.name}: see tests/project/test_mutants.py"
    begin = _cpu_seconds()
    _write(place, sound.replace(mutant.old, mutant.new))
    try:
        outcome, killer = run_tests(tree, mutant.tests, LIMIT)
    finally:
        _write(place, sound)
    return Result(mutant, outcome, killer, _cpu_seconds() - begin)


def _write(place: Path, text: str) -> None:
    """Write a file with a second of change that no version of it has had: Python compares it with that of bytecode."""
    later = place.stat().st_mtime + 10
    place.write_text(text)
    os.utime(place, (later, later))


def _cpu_seconds() -> float:
    """Of the processes that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def table(results: Sequence[Result]) -> str:
    """The results in Markdown."""
    killed = sum(result.outcome == "fails" for result in results)
    lines = [
        "# Mutants and the tests that kill them",
        "",
        f"`python -m tests.mutation` wrote this: {killed} of {len(results)} killed, "
        f"in {sum(result.seconds for result in results) / 60:.0f} minutes of one CPU.",
        "",
        "| mutant | file | killed by | CPU seconds |",
        "|---|---|---|---|",
    ]
    for mutant, outcome, killer, seconds in results:
        said = f"`{killer.partition('tests/')[2]}`" if outcome == "fails" else f"**survives** ({outcome})"
        lines.append(f"| {mutant.name} | `{mutant.file}` | {said} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str]) -> int:
    """Judge the mutants that are asked for; 0 if all are killed and their tests pass without them."""
    os.environ |= dict.fromkeys(OFFLINE, "1") | {"OMP_NUM_THREADS": "1"}
    mutants = [m for m in read() if not words or any(word in m.name for word in words)]
    if not mutants:
        sys.exit(f"no mutant has {' or '.join(words)} in its name\n\n{__doc__}")
    for name in PRELOADED:
        __import__(name)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        copy_tree(tree)
        tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        outcome, killer = run_tests(tree, tests, 10 * LIMIT, say_why=True)
        if outcome != "all pass":
            print(f"without any mutant: {outcome} {killer}")
            return 1
        results = []
        for mutant in mutants:
            results.append(judge(tree, mutant))
            _, outcome, killer, seconds = results[-1]
            print(f"{outcome:9s} {seconds:5.1f} s  {mutant.name}  {killer}", flush=True)
    if not words:
        RESULTS.write_text(table(results))
    survivors = [result.mutant.name for result in results if result.outcome != "fails"]
    print(f"{len(results) - len(survivors)} of {len(results)} killed" + "".join(f"\nsurvives: {n}" for n in survivors))
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
