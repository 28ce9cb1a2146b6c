"""A real study that is killed three times, at random moments: a short form of `python -m tests.failures`.

- kill -9 of the process group while data are prepared, while a run trains, and while it is scored leaves no process.
- What was finished before is not done again, and scores and weights equal those of a run that nobody disturbs.
- Where a disk is full or read-only, the last line says so, wherever the error came up.
- A node whose command is killed by the system says so in its log, which would else be empty.
- A node whose Snakemake was killed before the node looked for it runs nothing.
"""

import errno
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from study.presets import RunSettings
from study.runs.run import run
from tests import checkout
from tests.failures.study import Study
from tests.studies import copy_checkout, differences, results, wait_until

PRESET = {
    "about": "one run that can be killed",
    "judged": False,
    "backbone": {"name": "embedded:all-MiniLM-L6-v2", "pooling": "mean", "num_layers": 1},
    "data": {"source": "local", "validation_rows": 2},
    "training": {
        "steps": 6,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "max_query_tokens": 16,
        "max_document_tokens": 16,
        "precision": "fp32",
        "checkpoint_every": 2,
    },
    "evaluation": {"benchmark": None, "max_tokens": 16},
    "variants": {"ic": 1},
}


@pytest.fixture
def study(tmp_path):
    """A checkout of one preset, of one run and no other notebook than its own, with data."""
    root = copy_checkout(tmp_path / "study")
    for notebook in (root / "notebooks").glob("[!1]*.ipynb"):
        notebook.unlink()
    (root / "configs/presets/killed.yaml").write_text(yaml.safe_dump(PRESET))
    for task in ("classification", "clustering"):
        for part in ("train", "test"):
            path = root / "own" / task / f"{task}_set" / f"{part}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"text": f"{part} {task} {word} {i}", "label": word} for i in range(12) for word in ("red", "dry")]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = root / "own/pairs/words/train.jsonl"
    pairs.parent.mkdir(parents=True)
    pairs.write_text("".join(json.dumps({"anchor": f"q {i}", "positive": f"a {i}"}) + "\n" for i in range(40)))
    found = Study(root, "killed", ("--data=own", "--jobs=1"))  # one thread, as in the tests
    yield found
    found.end()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_a_study_that_is_killed_three_times_ends_as_if_nobody_had(study, tmp_path):
    folder = study.runs / "ic/seed0"
    places = {
        "data": lambda: study.states().get("data", {}).get("state") == "running",
        "training": lambda: (folder / "metrics.jsonl").is_file(),
        "scoring": lambda: (folder / "model").is_dir(),
    }
    before: dict = {}
    for place, reached in places.items():
        call = study.start()
        wait_until(lambda r=reached, c=call: r() or c.process.poll() is not None, place, 240, 0.05)
        time.sleep(random.uniform(0, 1))
        assert call.process.poll() is None, call.output()
        call.kill()
        assert study.left()[0] == []
        assert study.done_again(before) == []
        before = study.finished()
    call = study.start()
    assert call.ends_within(240), call.output()
    assert call.process.returncode == 0, call.output()
    assert "data" in before
    assert study.done_again(before) == []
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    del settings["data_sha256"]
    calm = tmp_path / "runs/killed/ic/seed0"
    run(RunSettings(**settings), calm, data=study.runs / "data")
    assert differences(results(tmp_path, "killed"), results(study.root, "killed")) == []
    call = study.start()
    assert call.ends_within(120)
    assert "Nothing to do" in call.output()


def in_workflow(root, code):
    variables = checkout.environment(PYTHONPATH=f"{root}:{root}/workflow", TSEMBED_ROOT=str(root))
    return subprocess.run([sys.executable, "-c", code], env=variables, cwd=root, capture_output=True, text=True)


def test_a_disk_that_cannot_be_written_is_named_wherever_the_error_came_up(tmp_path):
    code = (
        "import disks\n"
        "for text in ('x', 'I/O error: No space left on device (os error 28)', '[Errno 30] Read-only file system'):\n"
        "    print(*disks.faults(['fine', text]))\n"
        f"for number in ({errno.ENOSPC}, {errno.EROFS}, {errno.ENOENT}):\n"
        "    print(disks.line_of(OSError(number, 'why', 'runs/x')))\n"
    )
    answer = in_workflow(checkout.make(tmp_path), code)
    assert answer.stdout.splitlines() == [
        "",
        "no space left on a disk, as the log says; free some and call again: what is complete stays",
        "a folder is on a read-only file system, as the log says",
        "no space left (why: runs/x); free some and call again: what is complete stays",
        "nothing can be written (why: runs/x)",
        "None",
    ], answer.stderr


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        ("f_flag=os.ST_RDONLY, f_bavail=10**9, f_files=9, f_favail=9", "is on a read-only file system"),
        ("f_flag=0, f_bavail=255, f_files=9, f_favail=9", "no space left in"),
        ("f_flag=0, f_bavail=10**9, f_files=9, f_favail=0", "no space left in"),  # no inode
        ("f_flag=0, f_bavail=256, f_files=0, f_favail=0", ""),  # a file system that counts no inodes
    ],
)
def test_a_disk_is_full_or_read_only_by_what_the_system_says_of_it(tmp_path, disk, said):
    code = (
        "import os, types, disks\n"
        f"os.statvfs = lambda folder: types.SimpleNamespace(f_frsize=4096, {disk})\n"
        "print(*disks.faults([]), sep='\\n')\n"
    )
    answer = in_workflow(checkout.make(tmp_path), code)
    lines = answer.stdout.splitlines()
    assert len(lines) == (3 if said else 1), answer.stderr  # a line for each folder that a study writes in
    assert all(said in line for line in lines)
    assert bool(lines[0]) == bool(said)


def test_a_node_runs_nothing_if_snakemake_was_killed_while_it_started(tmp_path):
    root = checkout.make(tmp_path)
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, root / "workflow/node.py", "--parent", str(gone.pid), "tiny", "data", "--", "touch", "x"]
    variables = checkout.environment(PYTHONPATH=str(root), TSEMBED_ROOT=str(root))
    answer = subprocess.run(command, env=variables, cwd=root, capture_output=True, text=True)
    assert answer.returncode == 1
    assert f"the parent process {gone.pid} is gone" in answer.stderr
    assert not (root / "x").exists()


def test_a_node_whose_command_was_killed_says_that_memory_may_have_been_short(tmp_path):
    root = checkout.make(tmp_path)
    command = [sys.executable, root / "workflow/node.py", "tiny", "data", "--", "sh", "-c", "kill -9 $$"]
    variables = checkout.environment(PYTHONPATH=str(root), TSEMBED_ROOT=str(root))
    assert subprocess.run(command, env=variables, cwd=root).returncode == 1
    log = (root / "runs/tiny/logs/data.log").read_text().splitlines()
    assert log[1:] == ["exit status 137 (killed; probably out of memory) of: sh -c kill -9 $$"]
