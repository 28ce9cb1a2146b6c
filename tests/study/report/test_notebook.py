"""Strict execution.

Invariants: a wrong parameter never starts a kernel; whatever goes wrong leaves no mark and no output under its final
name, and an earlier mark is gone; a finished notebook has its output and then its mark.
"""

import json
import re
import sys

import pytest

from study.report import notebook


@pytest.fixture
def no_kernel(monkeypatch):
    """papermill must not be called."""
    import papermill

    def refuse(*_, **__):
        raise AssertionError("a kernel would have been started")

    monkeypatch.setattr(papermill, "execute_notebook", refuse)


def test_parameters_are_names_and_defaults(write_notebook):
    path = write_notebook(
        "a", parameters="preset: str = 'cpu'  # x = 1\nseed = 0\nrate = -1e-3\nnames = ['a']\nlimit = None"
    )
    assert notebook.parameters_of(path) == {"preset": "cpu", "seed": 0, "rate": -1e-3, "names": ["a"], "limit": None}


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"sead": 1}, "parameter 'sead' (value 1) is unknown; known: preset: str = 'tiny', seed: int = 0"),
        ({"seed": "abc"}, "parameter 'seed' has the value 'abc', of type str; its default 0 asks for int"),
        ({"preset": 3}, "parameter 'preset' has the value 3, of type int"),
        ({"seed": True}, "of type bool"),
        ({"seed": 1.0}, "of type float"),
        ({"seed": None}, "of type NoneType"),
    ],
)
def test_a_wrong_parameter_starts_no_kernel(write_notebook, study, no_kernel, parameters, rule):
    path = write_notebook("a")
    with pytest.raises(ValueError, match=re.escape(rule)) as error:
        notebook.execute(path, study / "out.ipynb", parameters)
    assert str(path) in str(error.value)


def test_an_int_is_a_float_and_none_accepts_any(write_notebook):
    path = write_notebook("a")
    notebook.check_parameters(path, {"rate": 1, "limit": "x", "seed": 3})


@pytest.mark.parametrize("source", ["seed = int('0')", "a, b = 1, 2", "seed.x = 3"])
def test_a_default_that_is_no_literal_is_rejected(write_notebook, source):
    with pytest.raises(ValueError, match="line 1.*one name with a literal default"):
        notebook.parameters_of(write_notebook("a", parameters=source))


def test_a_notebook_without_a_parameters_cell_is_rejected(study):
    path = study / "empty.ipynb"
    path.write_text('{"cells": []}')
    with pytest.raises(ValueError, match="0 cells have the tag 'parameters'"):
        notebook.parameters_of(path)


def test_a_finished_notebook_has_its_output_and_mark(write_notebook, study, capfd):
    path = write_notebook("a", "import os, sys\nprint(preset, seed, os.getcwd(), sys.executable)")
    output = study / "out" / "a.ipynb"
    notebook.execute(path, output, {"seed": 7})
    printed = [o["text"] for c in json.loads(output.read_text())["cells"] for o in c.get("outputs", [])]
    assert "".join(printed[0]).strip() == f"tiny 7 {path.parent} {sys.executable}"
    mark = json.loads(notebook.mark_of(output).read_text())
    assert mark["parameters"] == {"seed": 7}
    assert len(mark["notebook"]) == 64
    assert mark["seconds"] > 0
    assert sorted(p.name for p in output.parent.iterdir()) == ["a.ipynb", "a.ipynb.done"]
    assert str(study) not in json.dumps(json.loads(output.read_text())["metadata"])
    assert "TCP" not in capfd.readouterr().err  # ipykernel's warning of an unencrypted transport


def test_a_long_temporary_path_is_no_obstacle(write_notebook, study, monkeypatch):
    long = study / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    notebook.execute(write_notebook("a", "1 + 1"), study / "a.ipynb", {})
    assert notebook.mark_of(study / "a.ipynb").exists()


@pytest.mark.parametrize(
    ("cell", "timeout", "message"),
    [
        ("import os\nos.kill(os.getpid(), 9)", None, "cell 4 (import os): the kernel died; probably out of memory"),
        ("def f():\n    return 1 / 0\nf()", None, "cell 4 (def f():): failed\n"),
        ("import time\ntime.sleep(60)", 1, "cell 4 (import time): took longer than 1 s"),
    ],
    ids=["dead kernel", "exception", "time-out"],
)
def test_a_failure_names_the_cell_and_leaves_no_mark(write_notebook, study, cell, timeout, message):
    path, output = write_notebook("a", "first = 1", cell, "last = 1"), study / "a.ipynb"
    notebook.mark_of(output).write_text("{}")
    with pytest.raises(notebook.NotebookError) as error:
        notebook.execute(path, output, {"seed": 1}, timeout=timeout)
    assert message in str(error.value)
    assert str(study / "a.failed.ipynb") in str(error.value)
    assert ("ZeroDivisionError: division by zero" in str(error.value)) == ("1 / 0" in cell)
    assert not output.exists()
    assert not notebook.mark_of(output).exists()
    assert (study / "a.failed.ipynb").exists()


def test_the_command_line_reads_values_and_says_what_is_wrong(write_notebook, study, no_kernel, capsys):
    path = write_notebook("a")
    assert notebook.main([str(path), str(study / "o.ipynb"), "-p", "seed", "abc"]) == 2
    assert "'abc', of type str" in capsys.readouterr().err
    assert notebook.main([str(study / "none.ipynb"), str(study / "o.ipynb")]) == 2
    assert "there is no such notebook" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("{", "no notebook: not valid JSON"),
        ('{"nbformat": 3, "worksheets": []}', "no notebook with cells, as nbformat 4 has them, but one of nbformat 3"),
        ("[]", "no notebook with cells, as nbformat 4 has them, but one of nbformat None"),
        ('{"nbformat": 4}', "no notebook with cells, as nbformat 4 has them, but one of nbformat 4"),
    ],
)
def test_a_file_that_is_no_notebook_is_named(study, no_kernel, content, rule):
    path = study / "odd.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"odd\.ipynb: {rule}"):
        notebook.execute(path, study / "out.ipynb", {})


def test_a_place_that_cannot_be_written_is_named_before_a_kernel_starts(write_notebook, study, no_kernel, capsys):
    path = write_notebook("a", "print(seed)")
    (study / "file").write_text("")
    for output, rule in ((study / "{x}.ipynb", "what stands in braces"), (study / "file/o.ipynb", "cannot be made")):
        assert notebook.main([str(path), str(output)]) == 2
        said = capsys.readouterr().err
        assert rule in said
        assert output.name in said
        assert len(said.splitlines()) == 1
