"""What is asked of Slurm and made of its answers; tests/cluster runs a study on a real one.

squeue, scancel and scontrol are programs of some lines here, which answer from files and note how they were called.

- A job that waits is shown once, with an unusual reason again; one that ended badly is shown unless its node said so.
- The next call takes what an earlier one left waiting out of the queue, and waits for what runs; an interrupt cancels
  both; a lost connection leaves them.
- A node that was killed on another machine is "killed", unless Slurm does not answer.
- A training over several nodes asks for whole nodes, and what scores its model for one GPU or for those that are named.
"""

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from study import paths, slurm
from study.runs import launch, on_node
from tests import checkout

os.environ.setdefault("TSEMBED_ROOT", str(paths.ROOT))  # as run_all.sh sets it
sys.path.insert(0, str(paths.ROOT / "workflow"))
import node_states
import nodes
import queue_watch
import scheduler

PROGRAM = """#!{python} -S
import sys
from pathlib import Path
folder = Path({folder!r})
with (folder / "calls").open("a") as file:
    print({name!r}, *sys.argv[1:], file=file)
if {name!r} == "scancel":
    listing = (folder / "squeue").read_text().splitlines()
    kept = [line for line in listing if line.split("|")[0] not in sys.argv[1:]]
    (folder / "squeue").write_text("".join(line + "\\n" for line in kept))
answer = folder / {name!r}
if answer.exists():
    sys.stdout.write(answer.read_text())
else:
    sys.exit({name!r} == "squeue")
"""


class Cluster:
    """The programs of a cluster in a folder of PATH."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("squeue", "scancel", "scontrol"):
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder), name=name))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def answers(self, *jobs: str, program: str = "squeue") -> None:
        (self.folder / program).write_text("".join(f"{job}\n" for job in jobs))

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    found = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for name, folder in (("ROOT", tmp_path), ("RUNS", tmp_path / "runs"), ("REPORTS", tmp_path / "reports")):
        monkeypatch.setattr(paths, name, folder)
    monkeypatch.setattr(slurm, "_memory", slurm._Memory())
    monkeypatch.setattr(slurm, "_AGE", 0.0)
    monkeypatch.setattr(queue_watch, "EVERY", 0.0)
    return found


@pytest.fixture
def queue(cluster):
    return queue_watch.Queue(nodes.RunGraph("gpu", processes=8))


def job(queue, number, state, rule, reason="None", hosts=""):
    return f"{number}|{state}|{reason}|{hosts}|{queue.name}_1-2-3|{rule}"


def shown(queue, session="s"):
    lines = []
    queue.show(lambda *words: lines.append(" ".join(words)), session)
    return lines


def test_a_listing_is_read_and_a_stranger_left_out(cluster):
    cluster.answers("7|RUNNING|None|n1|tsembed-a-1_x|rule_data", "8|PENDING|Resources||other|x|y", "garbage")
    assert slurm.jobs("tsembed-a") == [slurm.Job("7", "RUNNING", "None", "n1", "tsembed-a-1_x", "rule_data")]
    assert [each.comment for each in slurm.jobs()] == ["rule_data", "x|y"]
    assert [each.active for each in slurm.jobs()] == [True, True]


def test_the_name_is_the_checkouts_and_one_that_the_executor_takes():
    names = [slurm.name_of(preset, Path(root)) for preset, root in (("a b", "/x"), ("a b", "/y"), ("p" * 60, "/x"))]
    assert len(set(names)) == 3
    assert all(len(name) <= 50 and name.replace("-", "").isalnum() for name in names)


def test_states_come_from_squeue_where_there_is_no_accounting(cluster):
    cluster.answers("AccountingStorageType = accounting_storage/none", program="scontrol")
    assert slurm.options("a", Path("logs"))[-2:] == ["--slurm-status-command", "squeue"]
    cluster.answers("AccountingStorageType = accounting_storage/slurmdbd", program="scontrol")
    (cluster.folder / "bin" / "sacct").symlink_to("squeue")
    assert slurm.options("a", Path("logs"))[-2:] == ["--slurm-status-command", "sacct"]


def test_a_job_that_waits_is_shown_once_and_again_for_an_unusual_reason(cluster, queue):
    cluster.answers(job(queue, 7, "PENDING", "rule_run_em_seed0"))
    assert shown(queue) == ["queued em/seed0 job 7"]
    cluster.answers(job(queue, 7, "PENDING", "rule_run_em_seed0", "Resources"))
    assert shown(queue) == []
    cluster.answers(job(queue, 7, "PENDING", "rule_run_em_seed0", "PartitionDown"))
    assert shown(queue) == ["queued em/seed0 job 7 (PartitionDown)"]


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"])
def test_a_job_that_ended_badly_is_shown_once_and_its_log_is_found(cluster, queue, state):
    cluster.answers(job(queue, 7, state, "rule_train_mote_seed0", hosts="n1"))
    assert shown(queue) == [f"failed mote/seed0/training job 7 {state.lower()} on n1"]
    assert shown(queue) == []
    (queue.logs / "rule_train_mote_seed0").mkdir(parents=True)
    (queue.logs / "rule_train_mote_seed0" / "7.log").write_text("a\n\nno such python\n")
    assert queue.last_words(queue.failed["mote/seed0/training"], 1)[1] == ["no such python"]
    cluster.answers(job(queue, 8, "RUNNING", "rule_train_mote_seed0", hosts="n1"))
    shown(queue)
    assert queue.failed == {}, "a further try runs"


def test_status_knows_what_is_queued_and_what_starts(cluster, queue):
    node_states.write_state("gpu", "em/seed0", state="interrupted", session="s", job="6", host="n1", pid=1, started=0.0)
    node_states.write_state("gpu", "ic/seed0", state="running", session="s", job="9", host="n1", pid=1, started=0.0)
    rules = {7: ("RUNNING", "rule_run_em_seed0"), 8: ("PENDING", "rule_data"), 9: ("RUNNING", "rule_run_ic_seed0")}
    cluster.answers(*(job(queue, number, *about) for number, about in rules.items()))
    assert queue.waiting(node_states.read_states("gpu")) == {"em/seed0": "starting", "data": "queued"}


def test_a_node_that_said_how_it_ended_needs_no_second_line(cluster, queue):
    node_states.write_state("gpu", "em/seed0", state="failed", session="s", job="7", host="n1", pid=1, started=0.0)
    cluster.answers(job(queue, 7, "FAILED", "rule_run_em_seed0"))
    assert shown(queue) == []


def test_every_node_has_the_rule_that_the_snakefile_gives_it(queue):
    graph = queue.graph
    expected = {
        "data": "rule_data",
        "data-images": "rule_data_images",
        "em/seed1": "rule_run_em_seed1",
        "mote/seed0/training": "rule_train_mote_seed0",
        "20_specialization": "rule_analysis_wildcards_20_specialization",
    }
    assert {node: queue_watch._comment(node) for node in expected} == expected
    assert expected.keys() - graph.outputs.keys() <= {"data-images"}
    assert not any(node.startswith(("base/", "ea/")) for node in graph.outputs if node.endswith("/training"))


def test_the_next_call_waits_for_what_runs_and_takes_the_others_out_of_the_queue(cluster, queue, capsys):
    runs = job(queue, 7, "RUNNING", "rule_run_em_seed0", hosts="n1")
    cluster.answers(runs, job(queue, 8, "PENDING", "rule_run_ic_seed0"), "9|RUNNING|None|n1|a-strangers|x")
    waited = []

    def wait(seconds):
        waited.append([each.number for each in queue.active()])
        if len(waited) == 3:
            cluster.answers(runs.replace("RUNNING", "COMPLETED"))

    queue.settle(wait)
    assert waited == [["7"]] * 3
    assert [call for call in cluster.calls if call.startswith("scancel")] == ["scancel 8"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Taken out of the queue, from an earlier call: ic/seed0 (job 8, pending)"
    assert lines[1].endswith("running (an interrupt ends it): em/seed0 (job 7, running on n1)")


@pytest.mark.parametrize(("signum", "cancelled"), [(signal.SIGINT, ["scancel 7 8"]), (signal.SIGHUP, [])])
def test_an_interrupt_cancels_the_jobs_and_a_lost_connection_leaves_them(cluster, queue, capsys, signum, cancelled):
    jobs = [job(queue, 7, "RUNNING", "rule_run_em_seed0", hosts="n1"), job(queue, 8, "PENDING", "rule_data")]
    cluster.answers(*jobs)
    scheduler._leave(queue, signum)
    called = (cluster.folder / "calls").read_text() if (cluster.folder / "calls").exists() else ""
    assert [line for line in called.splitlines() if line.startswith("scancel")] == cancelled
    named = "Cancelling em/seed0 (job 7, running on n1), data (job 8, pending)"
    assert (named in capsys.readouterr().out) == bool(cancelled)


def test_a_node_that_was_killed_elsewhere_is_noticed(cluster):
    node = {"session": "s", "job": "7", "host": "elsewhere", "pid": 1, "started": 0.0}
    node_states.write_state("gpu", "em/seed0", state="running", **node)

    def state():
        return node_states.read_states("gpu")["em/seed0"]["state"]

    assert state() == "running", "squeue fails: nothing is known"
    cluster.answers("7|FAILED|None|n1|a|b")
    assert state() == "killed", "the first answer counts at once, as for `status`"
    cluster.answers("7|RUNNING|None|n1|a|b")
    assert state() == "running"
    cluster.answers("6|RUNNING|None|n1|a|b")
    assert [state(), state()] == ["running", "killed"], "it may have written its end in the meantime"


def test_several_nodes_are_launched_by_srun_once_on_each(monkeypatch):
    monkeypatch.setenv("TSEMBED_NODES", "16")
    monkeypatch.setenv("TSEMBED_PROCESSES", "8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    command = launch.launch_command("paper", "mote", 0, only_training=True)
    step = ["srun", "--nodes=16", "--ntasks=16", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--gres=gpu:8"]
    assert command[:6] == step
    assert command[command.index("--num_processes") + 1] == "128"
    assert command[-7:] == ["study", "run", "paper", "mote", "0", "--resume", "--only-training"]
    monkeypatch.setenv("TSEMBED_NODES", "two")
    with pytest.raises(ValueError, match="TSEMBED_NODES must be a whole number > 0, not 'two'"):
        launch.launch_command("paper", "mote", 0)


def test_a_node_knows_its_rank_and_the_first_node(cluster):
    cluster.answers("n3", "n4", program="scontrol")
    variables = {
        "SLURM_NODEID": "1",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "n[3-4]",
        "SLURM_JOB_ID": "70012",
    }
    command = on_node.launch(["--num_processes", "16"], variables)
    assert cluster.calls == ["scontrol show hostnames n[3-4]"]
    options = dict(zip(command[3:-1:2], command[4::2], strict=True))
    assert options == {
        "--num_machines": "2",
        "--machine_rank": "1",
        "--main_process_ip": "n3",
        "--main_process_port": "20012",
        "--num_processes": "16",
    }
    with pytest.raises(ValueError, match="SLURM_NODEID, .*: not set; .* by srun"):
        on_node.launch([], {})


@pytest.mark.parametrize(
    ("several", "training", "scores"),
    [
        (("16", "8", ""), "nodes=16, mpi=srun, tasks=16, tasks_per_gpu=0, gres=gpu:8", "nodes=1, gpu=1"),
        (("1", "8", ""), "nodes=1, gpu=8", "nodes=1, gpu=1"),
        (("1", "8", "4"), "nodes=1, gpu=8", "nodes=1, gpu=4"),
        (("1", "1", "4"), None, "nodes=1, gpu=1"),
    ],
)
def test_a_training_asks_for_whole_nodes_and_what_scores_it_for_few_gpus(tmp_path, several, training, scores):
    root = checkout.make(tmp_path)
    code = "import sys, subprocess, argparse, scheduler, nodes\n"
    code += "options = argparse.Namespace(preset='tiny', data='own', profile='slurm', jobs='', command='run')\n"
    code += "graph = nodes.RunGraph('tiny', 'own', scheduler._processes(options))\n"
    code += "command = scheduler.snakemake_command.command(graph, options, '--dry-run', '--printshellcmds')\n"
    code += "answer = subprocess.run(command, capture_output=True, text=True)\n"
    code += "print(answer.stdout + answer.stderr)\n"
    variables = checkout.environment(PYTHONPATH=f"{root}:{root}/workflow", TSEMBED_ROOT=str(root))
    variables |= dict(zip(("TSEMBED_NODES", "TSEMBED_PROCESSES", "TSEMBED_SCORING"), several, strict=True))
    answer = subprocess.run([sys.executable, "-c", code], env=variables, cwd=root, capture_output=True, text=True)
    rules = dict(re.findall(r"^rule (\w+):\n(.*?)\n\n", answer.stdout + "\n\n", re.MULTILINE | re.DOTALL))
    assert "run_ic_seed0" in rules, answer.stdout + answer.stderr
    assert re.search(f"resources: .*{scores}$", rules["run_ic_seed0"], re.MULTILINE), rules["run_ic_seed0"]
    assert ("train_ic_seed0" in rules) == (training is not None)
    if training:
        assert re.search(f"resources: .*{training}$", rules["train_ic_seed0"], re.MULTILINE), rules["train_ic_seed0"]
        assert "-m study train tiny ic 0" in rules["train_ic_seed0"]
        assert "runs/tiny/ic/seed0/trained.json" in rules["run_ic_seed0"].split("output:")[0]
        assert f"env TSEMBED_NODES=1 TSEMBED_PROCESSES={several[2] or 1} " in rules["run_ic_seed0"]


def test_several_nodes_need_a_cluster(tmp_path):
    root = checkout.make(tmp_path)
    answer = checkout.call(root, "tiny", "--data=own", TSEMBED_NODES="2")
    assert (answer.returncode, answer.stderr) == (
        1,
        "run_all.sh: TSEMBED_NODES=2 needs a cluster: give --profile slurm\n",
    )


def test_a_finished_run_keeps_its_inputs_whatever_is_asked_for_later(tmp_path, monkeypatch):
    for name, folder in (("ROOT", tmp_path), ("RUNS", tmp_path / "runs"), ("REPORTS", tmp_path / "reports")):
        monkeypatch.setattr(paths, name, folder)
    run = tmp_path / "runs" / "gpu" / "mote" / "seed0"
    run.mkdir(parents=True)
    training = "mote/seed0/training"
    asked = [nodes.RunGraph("gpu", processes=n).inputs_of_run("mote", 0) for n in (1, 8)]
    assert [training in each for each in asked] == [False, True]
    (run / "done.json").touch()
    assert not any(training in nodes.RunGraph("gpu", processes=n).inputs_of_run("mote", 0) for n in (1, 8))
    (run / "trained.json").touch()
    assert all(training in nodes.RunGraph("gpu", processes=n).inputs_of_run("mote", 0) for n in (1, 8))
