"""Runs the command of one node: `python node.py [--parent PID] PRESET NODE -- command …`.

Its output goes to runs/PRESET/logs/NODE.log and its state beside it, for `scheduler.py` to show, here or on another
machine of a cluster. The command ends with this process, and this process with the one that started it.
"""

import contextlib
import os
import signal
import sys
import time

import marks
import node_states

from study import process


def main(preset: str, node: str, command: list[str]) -> int:
    """Run a node's command with its output in the node's log; 0 if it succeeded, else 1.

    The state file says running while it runs, then done, failed or interrupted.

    Args:
        preset: A name in configs/presets.
        node: As in `nodes.Study`, for example "em/seed0".
        command: Program and arguments.
    """
    log = node_states.begin_log(preset, node, command)
    started = time.time()
    state = {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "started": started,
        "session": os.environ.get("TSEMBED_SESSION", ""),
    }
    node_states.write_state(preset, node, state="running", **state)
    end = "failed"
    mark = marks.lend(preset, node)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # all of it is in the log
            process.run_supervised(command, log=log, every=3600.0)
        if mark:
            os.utime(mark)  # newer than what it was run again for
        end = "done"
    except RuntimeError as error:
        if process.KILLED in str(error):  # a process that is killed writes no last words
            with log.open("a") as file:
                file.write(str(error).partition("\n")[0] + "\n")
    except OSError as error:  # of its log; Snakemake's has this line
        print(f"{node}: {error}", file=sys.stderr)
    except (KeyboardInterrupt, SystemExit):
        end = "interrupted"
    finally:
        node_states.write_state(preset, node, state=end, ended=time.time(), **state)
    return 0 if end == "done" else 1


def _stop(signum, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: ending the command takes its time
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    divider = sys.argv.index("--")
    words = sys.argv[1:divider]
    # Who is asked only now does not see that Snakemake was killed while this process started, and would be an orphan.
    parent = int(words[1]) if words[0] == "--parent" else os.getppid()
    process.die_with_parent(parent, signal.SIGTERM)
    preset, node = words[-2:]
    sys.exit(main(preset, node, sys.argv[divider + 1 :]))
