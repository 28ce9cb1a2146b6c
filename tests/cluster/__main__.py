"""A study on a real Slurm whose jobs are killed, beside one that is left alone: `python -m tests.cluster FOLDER`.

Run by hand, as root, where Debian's slurmctld, slurmd, slurm-client and munge are installed; it takes half an hour on
two cores. Status 0: every check held. What it checks:

- `smoke` with `--profile slurm`, a job killed in each of six places (pending, starting, training, saving, evaluating,
  notebook), the call itself killed and interrupted once: scores and weights equal those of an undisturbed study.
- No job is submitted twice, and no call leaves one behind.
- A training over two nodes, killed once: losses and weights equal those of one process.

The folder is removed at the end, unless a check fails or `--keep` is given; a further call goes on with what is in it.
"""

import argparse
import shutil
import signal
import sys
from pathlib import Path

from tests.studies import log

from .disturbed import disturbed_study
from .slurm import cluster
from .studies import Study, copy_checkout
from .two_nodes import two_nodes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a short path: sockets are in it")
    parser.add_argument("--only", help="a part of smoke's variants")
    parser.add_argument("--part", choices=["study", "nodes"], help="one of both parts")
    parser.add_argument("--keep", action="store_true", help="do not remove the folder")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    for signum in (signal.SIGINT, signal.SIGTERM):  # in the background SIGINT is ignored
        signal.signal(signum, signal.default_int_handler)
    shutil.rmtree(folder / "slurm", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--only", options.only] if options.only else []
    faults: list[str] = []
    with cluster(folder / "slurm") as variables:
        log("the cluster is up: two nodes of one CPU and one GPU that is none")
        calm, killed = (Study(copy_checkout(folder / name), variables) for name in ("calm", "killed"))
        try:
            if options.part != "study":
                faults += two_nodes(calm, killed)
            if options.part != "nodes":
                faults += disturbed_study(calm, killed, words)
        finally:
            calm.end()
            killed.end()
    log("the cluster is down")
    for fault in faults:
        log(f"FAULT: {fault}")
    if not faults and not options.keep:
        shutil.rmtree(folder)
    log("every check held" if not faults else f"{len(faults)} checks failed; see {folder}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
