"""A training over two nodes of the cluster, killed once, beside the same training in one process."""

import json
import re
import subprocess
from collections.abc import Iterable

import yaml
from safetensors.torch import load_file
from torch import Tensor

from tests.studies import copy_data, log, wait_until

from .studies import Study

PRESET = {
    "about": "a training over two nodes",
    "judged": False,
    "backbone": {"name": "embedded:all-MiniLM-L6-v2", "pooling": "mean", "num_layers": 2, "dropout": 0.0},
    "data": {"source": "embedded", "train_rows": 64, "eval_rows": 40},
    "training": {
        "steps": 12,  # the more there are, the further Adam takes differences of rounding
        "batch_size": 8,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "warmup_steps": 1,
        "max_query_tokens": 32,
        "max_document_tokens": 64,
        "precision": "fp32",
        "task_sampling": "balanced",
        "checkpoint_every": 3,
    },
    "evaluation": {"benchmark": None, "max_tokens": 64, "token_budget": 2048, "sets_per_type": 1},
}
RULE = "rule_train_mote_seed0"
NODES = {"TSEMBED_NODES": "2", "TSEMBED_PROCESSES": "1"}


def two_nodes(calm: Study, killed: Study) -> list[str]:
    """What did not hold; nothing, if all did.

    Raises:
        RuntimeError: If a call ends before its runs are done.
    """
    for study, variants in ((calm, {"base": 1, "mote": 1}), (killed, {"mote": 1})):  # base: the weights before
        content = yaml.safe_dump(PRESET | {"variants": variants})
        (study.root / "configs" / "presets" / "nodes.yaml").write_text(content)
    calm.finish_runs("nodes", ("base/seed0", "mote/seed0"))
    log("one process: trained and scored")
    copy_data("nodes", calm.root, killed.root)
    call = killed.start("nodes", **NODES)
    run = killed.root / "runs" / "nodes" / "mote" / "seed0"
    wait_until(lambda: list(run.glob("checkpoints/*[0-9]")) or call.poll() is not None, "a checkpoint is there", 900)
    training = [job for job in killed.jobs() if job.rule == RULE and job.state == "RUNNING"]
    if not training:
        return [f"no training over two nodes is running:\n{killed.output()}"]
    log(f"two nodes: {_asked_for(killed, training[0].number)}")
    killed.cancel(training[0].number)
    log(f"two nodes: job {training[0].number} cancelled while training, with {len(_rows(run))} steps done")
    wait_until(lambda: (run / "trained.json").is_file() or call.poll() is not None, "it is trained", 1800)
    killed.end()
    again = sum(job.rule == RULE for job in killed.jobs())
    output = (killed.root / "runs" / "nodes" / "logs" / "mote.seed0.training.log").read_text()
    steps = re.findall(r"^step (\d+)/", output.rpartition("=== ")[2], re.MULTILINE)
    log(f"two nodes: trained in {again} jobs, the last one from step {steps[0]} on")
    faults = [] if again == 2 else [f"the training had {again} jobs"]
    faults += ["the second job began anew"] * (steps[0] == "1")
    return faults + _compare(calm, killed)


def _asked_for(study: Study, number: str) -> str:
    shown = subprocess.run(["scontrol", "show", "job", number], env=study.variables, capture_output=True, text=True)
    wanted = ("NumNodes", "NumCPUs", "NumTasks", "TRES", "NodeList", "TresPerNode")
    return " ".join(word for word in shown.stdout.split() if word.split("=")[0] in wanted)


def _rows(run) -> list[dict]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _compare(calm: Study, killed: Study) -> list[str]:
    """Losses as tests/study/runs/test_run.py allows for two processes on one machine; weights as one vector.

    A single weight says less: where its gradient is zero but for rounding, as of a key's bias, Adam moves it by the
    learning rate in either direction.
    """
    one, two = (study.root / "runs" / "nodes" / "mote" / "seed0" for study in (calm, killed))
    start = load_file(calm.root / "runs" / "nodes" / "base" / "seed0" / "model" / "model.safetensors")
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, two)]
    shared = [name for name in start if name in weights[0]]
    moved = _norm(weights[0][name] - start[name] for name in shared)
    apart = _norm(weights[0][name] - weights[1][name] for name in weights[0])
    single = max((weights[0][name] - weights[1][name]).abs().max().item() for name in weights[0])
    rows = [_rows(run) for run in (one, two)]
    same_tasks = [row["task"] for row in rows[0]] == [row["task"] for row in rows[1]]
    losses = max(abs(a["loss"] - b["loss"]) for a, b in zip(*rows, strict=True)) if same_tasks else float("nan")
    trained = json.loads((two / "trained.json").read_text())
    log(
        f"{trained['nodes']} nodes, {trained['processes']} processes against one, {len(rows[1])} steps:"
        f" weights moved by {moved:.1e} and are apart by {apart:.1e} (norms; a single one by {single:.1e});"
        f" losses apart by {losses:.1e}"
    )
    faults = []
    if (trained["nodes"], trained["processes"]) != (2, 2):
        faults.append(f"not trained by two processes on two nodes: {trained}")
    if not apart < moved / 1000:
        faults.append(f"weights moved by {moved} and are apart by {apart}")
    if not losses < 1e-4:
        faults.append(f"losses are apart by {losses}")
    return faults


def _norm(differences: Iterable[Tensor]) -> float:
    return sum(each.square().sum().item() for each in differences) ** 0.5
