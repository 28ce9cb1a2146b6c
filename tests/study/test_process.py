"""Subprocesses that cannot outlive their notebook.

Invariants: the whole output is in the log and a little of it in the cell; a failure shows the last lines; when the
caller is killed, whether gently or not, the command and its own children are gone soon after. Of several ranks the
error holds what the first failed one said, or how it ended, in place of the launcher's page about it.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tsembed
from study.process import last_line, run_supervised, start_supervised, stop

CHILDREN = "echo $$ > {0}/first; sh -c 'echo $$ > {0}/second; sleep 60; :' & sleep 60; :"


def test_all_output_is_in_the_log_and_a_line_in_the_cell(tmp_path, capsys):
    log = tmp_path / "logs" / "a.log"
    run_supervised(["sh", "-c", "seq 1 5000; echo to stderr >&2"], log=log)
    assert log.read_text().splitlines() == [*map(str, range(1, 5001)), "to stderr"]
    assert [line.split("s  ")[1] for line in capsys.readouterr().out.splitlines()] == ["to stderr"]


def test_a_slow_command_shows_where_it_is(tmp_path, capsys):
    run_supervised(
        ["sh", "-c", "printf 'step 1\\rstep 2\\n'; sleep 0.6; echo step 3"], log=tmp_path / "a.log", every=0.2
    )
    assert [line.split("s  ")[1] for line in capsys.readouterr().out.splitlines()] == ["step 2", "step 3"]


def test_a_silent_command_says_now_and_then_that_it_is_at_work(tmp_path, capsys):
    command = ["sh", "-c", "echo scoring; sleep 2; echo done"]
    run_supervised(command, log=tmp_path / "a.log", every=0.1, quiet=0.4)
    first, *silent, last = [line.split("s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert (first, last) == ("scoring", "done")
    assert 1 <= len(silent) <= 3, "at 0.4, 0.8 and 1.6 seconds: ever less often"
    assert all(line.startswith("… ") and line.endswith("s at: scoring") for line in silent)


def test_a_command_that_was_only_started_can_be_ended(tmp_path):
    process, begin = start_supervised(["sh", "-c", "echo here; sleep 60"], log=tmp_path / "a.log")
    deadline = time.monotonic() + 20
    while last_line(tmp_path / "a.log", begin) != "here" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert last_line(tmp_path / "a.log", begin) == "here"
    assert process.poll() is None
    stop(process)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_second_command_appends_to_the_log_but_shows_only_its_own_lines(tmp_path):
    log = tmp_path / "a.log"
    run_supervised(["echo", "first"], log=log)
    with pytest.raises(RuntimeError) as error:
        run_supervised(["sh", "-c", "echo second; exit 3"], log=log)
    assert log.read_text() == "first\nsecond\n"
    assert "exit status 3 of: sh -c" in str(error.value)
    assert "first" not in str(error.value).split("lines")[1]


def test_a_killed_command_is_probably_out_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match="exit status 137 .killed; probably out of memory"):
        run_supervised(["sh", "-c", "kill -9 $$"], log=tmp_path / "a.log")


def test_a_command_that_does_not_exist_says_so(tmp_path):
    with pytest.raises(RuntimeError, match="cannot start /no/such/program"):
        run_supervised(["/no/such/program"], log=tmp_path / "a.log")


RANK = r"""
import os, sys, time
from study.process import of_rank
rank = int(os.environ["RANK"])
if rank == 1:
    {end}
time.sleep(1)
print(of_rank(rank, "Traceback\nConnectionError: rank 1 has gone"), end="", flush=True)
time.sleep(60)
"""
SAYS = r"print(of_rank(1, 'Traceback\nValueError: 3 is odd'), end='', flush=True); time.sleep(2); sys.exit(1)"
KILLED = "os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("end", "expected"),
    [(SAYS, "[rank 1] ValueError: 3 is odd"), (KILLED, "local rank 1 ended with status -9")],
    ids=["an error", "a kill"],
)
def test_an_error_holds_what_the_first_failed_rank_said(tmp_path, monkeypatch, end, expected):
    (tmp_path / "ranks.py").write_text(RANK.format(end=end))
    monkeypatch.setenv("PYTHONPATH", str(Path(tsembed.__file__).parent.parent))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", str(tmp_path / "ranks.py")]
    with pytest.raises(RuntimeError) as error:
        run_supervised(launch, log=tmp_path / "a.log")
    assert "ChildFailedError" in (tmp_path / "a.log").read_text(), "the launcher has written its page"
    lines = str(error.value).splitlines()
    assert lines[-1] == expected
    assert "ConnectionError" not in str(error.value)
    assert not any("elastic" in line for line in lines[1:])


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_orphan_is_left(tmp_path, signum):
    code = "import sys; from pathlib import Path; from study.process import run_supervised; "
    code += f"run_supervised(['sh', '-c', sys.argv[1]], log=Path({str(tmp_path)!r}) / 'a.log')"
    environment = os.environ | {"PYTHONPATH": str(Path(tsembed.__file__).parent.parent)}
    caller = subprocess.Popen(
        [sys.executable, "-c", code, CHILDREN.format(tmp_path)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        pids = [int(_wait(lambda n=n: (tmp_path / n).read_text().strip())) for n in ("first", "second")]
        assert all(map(_alive, pids))
        caller.send_signal(signum)
        caller.wait(20)
        _wait(lambda: not any(map(_alive, pids)))
    finally:
        caller.kill()
        caller.wait()


def _wait(condition, seconds: float = 15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def _alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
