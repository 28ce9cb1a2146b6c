"""Subprocesses of a notebook that cannot outlive it. Imports nothing but the standard library.

run_all.sh uses it while it builds the environment, when nothing else is there yet, not even this package's needs.

A kernel that is killed leaves its children running, and on a GPU they keep its memory. So `run_supervised` puts a small
supervisor between the notebook and the command: the kernel tells the supervisor of its own death
(PR_SET_PDEATHSIG, Linux), and the supervisor ends the command's whole process group, launcher and workers alike.

Run as a file, this module is that supervisor (`supervise`) or, for a kernel, the `exec` in front of it.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
TAIL = 20  # lines of the log in an error
QUIET = 15.0  # seconds without a new line after which the cell says what is still under way
LONGEST_SILENCE = 60.0  # seconds between two such lines
READ = 2**20  # bytes of the log's end that an error is looked for in
KILLED = "killed; probably out of memory"
_PR_SET_PDEATHSIG = 1
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_OF_RANK = re.compile(r"\[rank \d+\] ")
_LAUNCHER = re.compile(r"^[EW]\d{4} .*torch/distributed/elastic/")  # what torch's launcher says when a rank has failed
_EXIT = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")


def run_supervised(
    command: list[str],
    *,
    log: Path,
    every: float = 5.0,
    quiet: float = QUIET,
    each: Callable[[], None] | None = None,
) -> None:
    """Run a command to its end, with its full output in a file and a line of it in the cell now and then.

    Where the command says nothing new, the cell repeats its last line and for how long it has been the last.

    The command has its own session. It dies with this process, and an interrupt of the cell ends it: SIGTERM, then
    SIGKILL after `GRACE` seconds.

    Args:
        command: Program and arguments; no shell.
        log: File that standard output and error are appended to; its folder is made.
        every: Seconds between two lines in the cell. Heavy cell output kills kernels.
        quiet: Seconds without a new line after which the last one is repeated; then after ever longer, but at
            most `LONGEST_SILENCE` seconds more.
        each: Called as often, and once at the end: a live figure.

    Raises:
        RuntimeError: If the command ends with a status other than 0; holds the last lines of the log.
    """
    process, begin = start_supervised(command, log=log)
    started, shown, news, patience = time.monotonic(), "", time.monotonic(), quiet
    try:
        while True:
            try:
                code = process.wait(every)
            except subprocess.TimeoutExpired:
                code = None
            line, now = last_line(log, begin), time.monotonic()
            if line != shown:
                print(f"{now - started:7.0f} s  {line}", flush=True)
                shown, news, patience = line, now, quiet
            elif code is None and now - news >= patience:
                print(f"{now - started:7.0f} s  … {now - news:.0f} s at: {line or 'starting'}", flush=True)
                patience += min(patience, LONGEST_SILENCE)
            if each is not None:
                each()
            if code is not None:
                break
    finally:
        stop(process)
    if code != 0:
        why = f" ({KILLED})" if code == 128 + signal.SIGKILL else ""
        lines = "\n".join(cause(_tail(log, begin, READ))[-TAIL:])
        raise RuntimeError(f"exit status {code}{why} of: {' '.join(command)}\nlast lines of {log}:\n{lines}")


def start_supervised(command: list[str], *, log: Path) -> tuple[subprocess.Popen, int]:
    """Start a command as `run_supervised` does, and do not wait for it; end it with `stop`.

    It dies with the thread that calls this (PR_SET_PDEATHSIG), so call it in the kernel's main thread.

    Args:
        command: Program and arguments; no shell.
        log: File that standard output and error are appended to; its folder is made.

    Returns:
        The supervisor's process, whose status is the command's, and where in the log its output begins.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        begin = sink.tell()
        process = subprocess.Popen(
            launcher("supervise", *command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, begin


def last_line(log: Path, begin: int = 0) -> str:
    """The last line that is not empty of a log, from a place in it on; "" where there is none."""
    return (_tail(log, begin) or [""])[-1]


def launcher(mode: str, *command: str) -> list[str]:
    """The command line that runs `command` under this file: mode "exec" or "supervise"."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), mode, str(os.getpid()), *command]


def of_rank(rank: int, text: str) -> str:
    """A failed rank's last words, each line with its number: an error then holds those of the rank that failed first.

    >>> of_rank(1, "Traceback …\\nValueError: 3")
    '[rank 1] Traceback …\\n[rank 1] ValueError: 3\\n'

    Args:
        rank: Of the process among those of its launch.
        text: Its traceback.
    """
    return "".join(f"[rank {rank}] {line}\n" for line in text.splitlines())


def cause(lines: list[str]) -> list[str]:
    """The lines that say why a command failed: not the page that torch's launcher writes about a rank that did.

    The first rank that said something is the cause; the others lost their connection to it.
    """
    if ranks := [found[0] for line in lines if (found := _OF_RANK.match(line))]:
        return [line for line in lines if line.startswith(ranks[0])]
    end = next((i for i, line in enumerate(lines) if _LAUNCHER.match(line)), None)
    if end is None:
        return lines
    exits = [found for line in lines[end:] if (found := _EXIT.search(line))]
    return lines[:end] + [f"local rank {found[2]} ended with status {found[1]}" for found in exits]


def _tail(log: Path, begin: int, size: int = 16384) -> list[str]:
    """The last non-empty lines written since `begin`; a carriage return of a progress bar ends a line too."""
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(begin, end - size))
        text = _ESCAPES.sub("", file.read().decode(errors="replace"))
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def stop(process: subprocess.Popen) -> None:
    """Ask the supervisor to end its command, and wait until it has."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def die_with_parent(parent: int, signum: int) -> None:
    """Ask Linux to signal this process when its parent ends; ends it at once if the parent is gone already.

    Elsewhere than on Linux only the second is done.

    Args:
        parent: Process id of the parent, as the parent knew it.
        signum: The signal.

    Raises:
        SystemExit: If the parent is another one by now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(f"the parent process {parent} is gone")


def _supervise(command: list[str]) -> int:
    """Run the command in a group of its own; end the group on SIGTERM and when the command has ended."""
    signals = []
    signal.signal(signal.SIGTERM, lambda signum, _: signals.append(signum))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, start_new_session=True)
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
        return 127
    while child.poll() is None and not signals:
        time.sleep(0.05)
    _signal_group(child.pid, signal.SIGTERM)
    end = time.monotonic() + GRACE
    while time.monotonic() < end and signals and (child.poll() is None or _signal_group(child.pid, 0)):
        time.sleep(0.05)
    _signal_group(child.pid, signal.SIGKILL)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _signal_group(group: int, signum: int) -> bool:
    """Whether the group still has a process that took the signal."""
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _main(mode: str, parent: str, *command: str) -> int:
    if mode == "exec":
        die_with_parent(int(parent), signal.SIGKILL)
        os.execvp(command[0], command)
    die_with_parent(int(parent), signal.SIGTERM)
    return _supervise(list(command))


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
