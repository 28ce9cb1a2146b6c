"""One node's part in a training over several nodes of a Slurm job: srun starts it once on each.

    srun --nodes=16 --ntasks=16 … python -m study.runs.on_node --num_processes 128 --config_file … -m study run …

It becomes `accelerate launch` with what only the node knows: its rank among the nodes, and where the first of them
waits for the others. Does not import torch.
"""

import os
import subprocess
import sys
from collections.abc import Mapping

PORTS = range(20000, 30000)  # below those that Linux gives to connections of its own


def srun(nodes: int, gpus: int) -> list[str]:
    """The srun that starts a command once on each node of the job, and ends all of them with the first that fails.

    Args:
        nodes: As many as the job has.
        gpus: Of each node; 0 where the job has none.
    """
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    return [*step, *([f"--gres=gpu:{gpus}"] if gpus else []), "--cpu-bind=none"]


def launch(arguments: list[str], variables: Mapping[str, str]) -> list[str]:
    """`accelerate launch` for the processes of this node.

    Args:
        arguments: Of `accelerate launch`, alike on every node.
        variables: Those of the srun step: SLURM_NODEID, SLURM_STEP_NUM_NODES, SLURM_STEP_NODELIST, SLURM_JOB_ID.

    Raises:
        ValueError: If one of them is missing, as outside of srun.
    """
    needed = ("SLURM_NODEID", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NODELIST", "SLURM_JOB_ID")
    if missing := [name for name in needed if name not in variables]:
        raise ValueError(f"{', '.join(missing)}: not set; a training over several nodes runs in a Slurm job, by srun")
    here = {
        "num_machines": variables["SLURM_STEP_NUM_NODES"],
        "machine_rank": variables["SLURM_NODEID"],
        "main_process_ip": _first_host(variables["SLURM_STEP_NODELIST"]),
        # one port per job, as two trainings may have the same first node
        "main_process_port": str(PORTS[int(variables["SLURM_JOB_ID"]) % len(PORTS)]),
    }
    options = [word for name, value in here.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *arguments]


def _first_host(nodes: str) -> str:
    """The first of a list as Slurm writes it, for example node[3-18]."""
    names = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    return names.stdout.split()[0]


if __name__ == "__main__":
    command = launch(sys.argv[1:], os.environ)
    os.execv(command[0], command)
