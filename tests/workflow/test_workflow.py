"""The graph on a small study, with real notebooks and processes.

- A failure blocks only what depends on it; the call ends with node, log and last lines, and status 1.
- One study at a time; SIGTERM and kill -9 of the group leave no process, and finished nodes are not run again.
- A run waits for the run whose weights it takes, of its own seed or the only one.
- A changed file of the data is noticed, behind a link to a folder or a file too; a link in a circle is not followed.
- With nothing changed nothing runs; an edited notebook runs alone; changed settings run their runs again.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import checkout
from tests.studies import processes, wait_until
from workflow.nodes import RunGraph


@pytest.fixture
def root(tmp_path):
    """A checkout in which nothing has run."""
    return checkout.make(tmp_path)


@pytest.fixture(scope="module")
def mended(tmp_path_factory):
    """A checkout whose study failed once and was then called again, with both answers and the states in between."""
    root = checkout.make(tmp_path_factory.mktemp("study"))
    (root / "broken").touch()
    broken, states = study(root), table(root, "status")
    (root / "broken").unlink()
    done = root / "runs/tiny/em/seed0/done.json"
    before = done.stat().st_mtime_ns
    answer = study(root)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return SimpleNamespace(root=root, broken=broken, states=states, kept=done.stat().st_mtime_ns == before)


@pytest.fixture
def finished(mended, tmp_path):
    """A checkout in which the study is done; what a test changes is put back."""
    finished_once = mended.root
    folders = ("notebooks", "configs", "own")
    for name in folders:
        shutil.copytree(finished_once / name, tmp_path / name)
    yield finished_once
    for name in folders:
        shutil.rmtree(finished_once / name)
        shutil.copytree(tmp_path / name, finished_once / name)


STATES = ("done", "would run", "running", "failed", "missing", "killed", "interrupted")


def table(root, command):
    """Node -> state, as `plan` or `status` prints it."""
    answer = checkout.call(root, command, "tiny", *(["--data=own"] if command == "plan" else []))
    assert answer.returncode == 0, answer.stderr
    rows = ((state, line) for line in answer.stdout.splitlines() for state in STATES if line.startswith(f"{state} "))
    return {line.removeprefix(state).split()[0]: state for state, line in rows}


def study(root):
    return checkout.call(root, "tiny", "--data=own")


def test_a_failure_blocks_only_what_depends_on_it_and_the_next_call_runs_that_alone(mended):
    answer = mended.broken
    assert answer.returncode == 1
    assert "failed: ic/seed0, log: runs/tiny/logs/ic.seed0.log" in answer.stderr
    assert "it broke" in answer.stderr
    assert "1 of 6 nodes failed; 3 that depend on them did not run" in answer.stderr
    assert mended.states == {
        "data": "done",
        "em/seed0": "done",
        "ic/seed0": "failed",
        "20_first": "missing",
        "25_second": "missing",
        "site": "missing",
    }
    assert mended.kept, "a finished run is not run again"
    assert set(table(mended.root, "status").values()) == {"done"}
    assert (mended.root / "reports/tiny/index.html").is_file()


def test_fetching_prepares_the_data_and_runs_nothing(root):
    preset = root / "configs" / "presets" / "tiny.yaml"
    preset.write_text(checkout.PRESET + "evaluation: {benchmark: null}\n")
    answer = checkout.call(root, "fetch", "tiny", "--data=own")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-1] == "tiny needs no network"
    assert {node: word for node, word in table(root, "status").items() if word != "missing"} == {"data": "done"}
    assert {node: word for node, word in table(root, "plan").items() if word != "would run"} == {"data": "done"}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("kill", ["SIGTERM", "kill -9 of the group"])
def test_an_interrupt_leaves_no_process_and_a_second_call_is_refused(root, kill):
    (root / "slow").touch()
    first = subprocess.Popen(
        [root / "run_all.sh", "tiny", "--data=own"],
        env=checkout.environment(),
        cwd=root,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(lambda: "sleep 4242 " in processes(root).values(), "the training has started", 60)
        if kill == "SIGTERM":
            second = study(root)
            assert second.returncode == 1
            assert len(second.stderr.splitlines()) == 1
            assert f"already running in this checkout: preset tiny, process {first.pid}" in second.stderr
            assert table(root, "status")["ic/seed0"] == "running"
            first.terminate()
        else:
            os.killpg(first.pid, signal.SIGKILL)
        output, _ = first.communicate(timeout=60)
    finally:
        if first.poll() is None:  # a failed test leaves nothing behind
            first.terminate()
            first.communicate(timeout=60)
    if kill == "SIGTERM":
        assert first.returncode == 130
        assert "The same command continues from here." in output
        assert processes(root) == {}
    wait_until(lambda: not processes(root), "no process is left", seconds=30)
    assert table(root, "status")["ic/seed0"] in ("interrupted", "killed")


def test_with_nothing_changed_nothing_runs(finished):
    began = time.monotonic()
    answer = study(finished)
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout.startswith("Nothing to do"), answer.stdout
    assert time.monotonic() - began < 20  # 5 s on an idle machine, see .ci/run


def test_an_edited_notebook_runs_alone_and_a_saved_output_does_not_count(finished):
    saved = finished / "notebooks" / "20_first.ipynb"
    before = saved.read_text()
    saved.write_text(before.replace('"outputs": []', '"outputs": [{"output_type": "stream"}]'))
    assert saved.read_text() != before
    checkout.write_notebook(finished, "25_second", 'preset = "tiny"', "print(preset, 'again')")
    assert [n for n, word in table(finished, "plan").items() if word == "would run"] == ["25_second", "site"]


def test_changed_settings_of_runs_leave_the_data(finished):
    (finished / "configs" / "presets" / "tiny.yaml").write_text(checkout.PRESET + "training: {steps: 3}\n")
    assert [n for n, word in table(finished, "plan").items() if word == "done"] == ["data"]
    remark = "note: warmup_steps 700 are not fewer than the 3 steps: the learning rate never reaches 5e-06"
    assert remark in checkout.call(finished, "plan", "tiny").stdout


def test_another_label_makes_the_pages_anew_and_no_run(finished):
    variants = finished / "configs" / "variants" / "text.yaml"
    text = variants.read_text()
    variants.write_text(text.replace("label: EM,", "label: One for all,"))
    assert variants.read_text() != text
    found = [node for node, word in table(finished, "plan").items() if word == "would run"]
    assert found == ["20_first", "25_second", "site"]


def test_new_pictures_prepare_the_data_anew(finished):
    pictures = finished / "own" / "images" / "birds" / "images.zip"
    pictures.parent.mkdir(parents=True)
    pictures.write_bytes(b"")
    assert table(finished, "plan")["data"] == "would run"


def test_processes_of_another_machine_are_let_be(root):
    code = (
        "import subprocess, types; import node_states, scheduler\n"
        "there, snakemake = (subprocess.Popen(['sleep', '60']) for _ in range(2))\n"
        "row = {'session': 's', 'state': 'running', 'pid': there.pid, 'host': 'elsewhere'}\n"
        "node_states.read_states = lambda preset: {'em/seed0': row}\n"
        "scheduler._end(types.SimpleNamespace(preset='tiny'), 's', snakemake)\n"
        "print(there.poll(), snakemake.poll()); there.kill()\n"
    )
    variables = checkout.environment(PYTHONPATH=f"{root}:{root}/workflow", TSEMBED_ROOT=str(root))
    answer = subprocess.run([sys.executable, "-c", code], env=variables, cwd=root, capture_output=True, text=True)
    assert answer.stdout == "None -9\n", answer.stderr


def test_a_run_waits_for_the_run_whose_weights_it_takes():
    nodes = RunGraph("gpu")
    assert [nodes.needs("vl_lora", seed)[1:] for seed in (0, 1)] == [["vl_base/seed0"]] * 2
    assert nodes.needs("ea", 1)[1:] == ["mote/seed1"]
    planned = {f"{variant}/seed{seed}" for variant, seed in nodes.runs}
    assert all(set(nodes.needs(variant, seed)[1:]) <= planned for variant, seed in nodes.runs)


def test_data_behind_links_are_watched(tmp_path):
    own, store = tmp_path / "own", tmp_path / "store"
    (own / "sts/alike").mkdir(parents=True)
    (store / "faq").mkdir(parents=True)
    (store / "faq/train.jsonl").write_text("{}")
    (store / "scores.jsonl").write_text("{}")
    (own / "pairs").symlink_to(store)
    (own / "sts/alike/test.jsonl").symlink_to(store / "scores.jsonl")
    (own / "sts/circle").symlink_to(own)
    watched = [str(Path(path).relative_to(own)) for path in RunGraph("local", str(own)).data_files("data")]
    assert watched == ["pairs/faq/train.jsonl", "pairs/scores.jsonl", "sts/alike/test.jsonl"]


def test_a_sets_licence_and_task_are_watched_with_its_rows(tmp_path):
    for name in ("train.csv", "README.md", "task.json", "notes.txt"):
        (tmp_path / "pairs/faq").mkdir(parents=True, exist_ok=True)
        (tmp_path / "pairs/faq" / name).write_text("{}")
    watched = [Path(path).name for path in RunGraph("local", str(tmp_path)).data_files("data")]
    assert watched == ["README.md", "task.json", "train.csv"]


def test_without_data_the_folder_is_that_of_the_prepared_data(finished):
    manifest = finished / "runs/tiny/data/manifest.json"
    before = manifest.read_bytes()
    for command in ((), ("plan",)):
        answer = checkout.call(finished, *command, "tiny")
        assert answer.returncode == 0, answer.stderr
    assert "0 of" in answer.stdout
    moved = finished / "elsewhere"
    (finished / "own").rename(moved)
    try:
        answer = checkout.call(finished, "tiny")
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1
        assert "own, of which the data of tiny were prepared, is not there; name it with --data" in answer.stderr
        assert manifest.read_bytes() == before
    finally:
        moved.rename(finished / "own")


def test_a_preset_of_the_users_data_without_any_is_one_line(root):
    answer = checkout.call(root, "tiny")
    assert (answer.returncode, len(answer.stderr.splitlines())) == (1, 1)
    assert "preset tiny reads a folder of yours: name it with --data FOLDER" in answer.stderr
    assert not (root / "runs/tiny").exists()


@pytest.mark.parametrize("name", ["own #2: a's", "own 100% [x]"])
def test_a_folder_may_have_any_name_that_yaml_would_read_otherwise(root, name):
    (root / "own").rename(root / name)
    answer = checkout.call(root, "plan", "tiny", "--data", name)
    assert answer.returncode == 0, answer.stderr
    assert "would run  data" in answer.stdout


@pytest.mark.parametrize("name", ["2027", "1e6", "x y", "true", "Nan"])
def test_a_preset_that_no_command_line_can_name_is_one_line(root, name):
    (root / "configs/presets/tiny.yaml").rename(root / f"configs/presets/{name}.yaml")
    answer = checkout.call(root, "plan", name, "--data", "own")
    assert (answer.returncode, len(answer.stderr.splitlines())) == (1, 1)
    assert f"{name!r} cannot be the name of a preset: one begins with a letter" in answer.stderr


def test_a_finished_run_that_fails_under_other_settings_is_done_again_when_they_are_undone(finished):
    variants, mark = finished / "configs/variants/text.yaml", finished / "runs/tiny/ic/seed0/done.json"
    before, sound = mark.stat().st_mtime_ns, variants.read_text()
    variants.write_text(sound.replace("{label: IC,", "{label: IC, temperature: 0.1,"))  # of one run alone
    assert variants.read_text() != sound
    (finished / "broken").touch()
    try:
        assert study(finished).returncode == 1
    finally:
        (finished / "broken").unlink()
    assert mark.stat().st_mtime_ns == before
    assert table(finished, "plan")["ic/seed0"] == "would run"
    variants.write_text(sound)
    assert study(finished).stdout.startswith("Nothing to do")


def test_a_mark_that_a_killed_call_had_deleted_is_there_again(finished):
    mark = finished / "runs/tiny/data/manifest.json"
    noted = finished / "runs/tiny/logs/.marks/marks/runs/tiny/data/manifest.json"
    noted.parent.mkdir(parents=True)
    before = mark.stat().st_mtime_ns
    mark.rename(noted)
    assert table(finished, "plan")["data"] == "done"
    assert mark.stat().st_mtime_ns == before
    assert not (finished / "runs/tiny/logs/.marks").exists()


def test_after_a_clock_was_set_back_the_study_goes_on_and_does_nothing_again(finished):
    marks = [*finished.glob("runs/tiny/**/done.json"), *finished.glob("reports/tiny/notebooks/*.done")]
    marks += [finished / "runs/tiny/data/manifest.json", finished / "reports/tiny/index.html"]
    assert len(marks) == 6
    times = [mark.stat().st_mtime for mark in marks]
    for mark in marks:
        os.utime(mark, (mark.stat().st_mtime + 86400,) * 2)
    content = [mark.read_bytes() for mark in finished.glob("runs/tiny/*/seed0/10_train.ipynb")]
    notebook = finished / "notebooks/25_second.ipynb"
    saved = notebook.read_text()
    checkout.write_notebook(finished, "25_second", 'preset = "tiny"', "print(preset, 'after the clock was set back')")
    answer = study(finished)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.startswith("The clock was set back: 6 nodes were done in the future")
    assert [line.split()[2] for line in answer.stdout.splitlines() if "  start " in line] == ["25_second", "site"]
    assert [mark.read_bytes() for mark in finished.glob("runs/tiny/*/seed0/10_train.ipynb")] == content
    assert all(mark.stat().st_mtime < time.time() for mark in marks), times
    notebook.write_text(saved)
    assert study(finished).returncode == 0, "other tests find the study as it was"


def test_a_finished_run_that_is_started_again_has_its_mark_while_its_command_runs(root):
    mark = root / "runs/tiny/em/seed0/done.json"
    noted = root / "runs/tiny/logs/.marks/marks/runs/tiny/em/seed0/done.json"
    for folder in (mark.parent, noted.parent):
        folder.mkdir(parents=True)
    noted.write_text("{}")
    os.utime(noted, (1, 1))
    command = [sys.executable, root / "workflow/node.py", "tiny", "em/seed0", "--", "test", "-f", mark]
    variables = checkout.environment(PYTHONPATH=str(root), TSEMBED_ROOT=str(root))
    assert subprocess.run(command, env=variables, cwd=root).returncode == 0
    assert mark.stat().st_mtime > 1, "newer than what it was started again for"


def test_what_snakemake_knows_of_a_node_is_where_it_writes_it(root):
    names = "runs/tiny/em/seed0/done.json", f"runs/{'a' * 200}/{'b' * 200}/done.json"
    code = (
        "import sys, pathlib, marks\n"
        "from snakemake.persistence.file import FilePersistence\n"
        "theirs = FilePersistence()\n"
        "for name in sys.argv[1:]:\n"
        "    print(theirs._record_path(theirs._metadata_path, name) == str(marks.record_of(pathlib.Path(name))))\n"
    )
    variables = checkout.environment(PYTHONPATH=f"{root}:{root}/workflow", TSEMBED_ROOT=str(root))
    words = [sys.executable, "-c", code, *names]
    answer = subprocess.run(words, env=variables, cwd=root, capture_output=True, text=True)
    assert answer.stdout.split() == ["True", "True"], answer.stderr


def test_a_change_behind_a_link_prepares_the_data_anew(finished):
    store = finished / "store"
    shutil.copytree(finished / "own", store)
    files = ("pairs/words/train.jsonl", "classification/numbers/train.jsonl")
    try:
        shutil.rmtree(finished / "own/pairs")
        (finished / "own/pairs").symlink_to(store / "pairs")
        (finished / "own" / files[1]).unlink()
        (finished / "own" / files[1]).symlink_to(store / files[1])
        past = time.time() - 10**6
        for path in store.rglob("*"):
            os.utime(path, (past, past))
        for path in (finished / "own").rglob("*"):
            os.utime(path, (past, past), follow_symlinks=False)
        assert table(finished, "plan")["data"] == "done"
        for file in files:
            before = (store / file).read_text()
            (store / file).write_text(before + before.splitlines()[0] + "\n")
            assert table(finished, "plan")["data"] == "would run", file
            (store / file).write_text(before)
            os.utime(store / file, (past, past))
    finally:
        (finished / "own/pairs").unlink()
        shutil.rmtree(store)
