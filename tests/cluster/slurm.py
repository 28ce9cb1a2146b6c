"""A real Slurm on one machine: controller and two nodes on loopback, without accounting, from a folder of its own.

Needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge; their services need not run. Each node is a
slurmd in a UTS namespace of its own, so that it has a host name, and a mount namespace, so that names resolve there.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.process import launcher

NODES = ("node1", "node2")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol", "srun", "unshare")
# Of one CPU and one made-up GPU per node: what a training asks for is checked by the controller like any other request.
CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
KillWait=20
MinJobAge=36000
SlurmctldDebug=info
SlurmdDebug=info
NodeName=node1 NodeHostname=node1 NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
NodeName=node2 NodeHostname=node2 NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""
GRES = "NodeName=node1,node2 Name=gpu File=/dev/null\n"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The variables that name the cluster to sbatch and its like; it ends with the context, its jobs before it.

    Args:
        folder: Empty; configuration, sockets, states and logs go there. Its path must be short: a socket is in it.

    Raises:
        RuntimeError: If a program is missing, this is not root, or a node is not idle after a minute.
    """
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise RuntimeError(f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)")
    if os.geteuid() != 0:
        raise RuntimeError("slurmd starts jobs as their user, for which it must be root")
    for name in ("etc", "log", "state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "hosts").write_text(Path("/etc/hosts").read_text() + f"127.0.0.1 {' '.join(NODES)}\n")
    text = CONF.format(host=os.uname().nodename, folder=folder, ports=_free_ports(3))
    (folder / "etc" / "slurm.conf").write_text(text.lstrip())
    (folder / "etc" / "gres.conf").write_text(GRES)
    variables = os.environ | {"SLURM_CONF": str(folder / "etc" / "slurm.conf")}
    daemons = []

    def start(name: str, *command: str) -> None:
        with (folder / "log" / f"{name}.out").open("wb") as sink:
            process = subprocess.Popen(launcher("exec", *command), env=variables, stdout=sink, stderr=sink)
        daemons.append((name, process))

    try:
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        places = [f"--{option}={folder / name}" for option, name in files.items()]
        start("munged", "munged", "--foreground", "--force", f"--log-file={folder}/log/munged.log", *places)
        _wait(lambda: (folder / "munge.socket").exists(), "munged answers", 20)
        start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            start(node, "unshare", "--uts", "--mount", "sh", "-c", _as_node(folder, node))
        _wait(lambda: _states(variables) == ["idle", "idle"], f"both nodes are idle (logs: {folder}/log)", 60)
        yield variables
    finally:
        subprocess.run(["scancel", "--me"], env=variables, capture_output=True)
        _wait(lambda: not _jobs(variables), "no job is left", 60, give_up=True)
        for _, process in reversed(daemons):
            process.terminate()
        for _, process in reversed(daemons):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _as_node(folder: Path, node: str) -> str:
    """Its jobs find the configuration where Slurm has it by default: the executor of Snakemake drops SLURM_CONF."""
    private = f"mount --make-rprivate / 2>/dev/null; mount --bind {folder}/hosts /etc/hosts"
    return f"{private} && mount --bind {folder}/etc /etc/slurm && hostname {node} && exec slurmd -D -N {node}"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _states(variables: dict[str, str]) -> list[str]:
    answer = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], env=variables, capture_output=True, text=True)
    return answer.stdout.split()


def _jobs(variables: dict[str, str]) -> str:
    return subprocess.run(["squeue", "-h", "-o", "%i"], env=variables, capture_output=True, text=True).stdout.strip()


def _wait(condition, what: str, seconds: float, give_up: bool = False) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            if give_up:
                return
            raise RuntimeError(f"still not after {seconds:.0f} s: {what}")
        time.sleep(0.3)
