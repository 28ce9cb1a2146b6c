"""The contents manager of `./run_all.sh lab`: a notebook is read with its kernel's metadata and kept without them."""

import asyncio
import json
import shutil
from pathlib import Path

from study import paths
from study.lab import NotebookContents, kernel_metadata


def test_a_notebook_is_read_as_its_kernel_leaves_it_and_is_kept_as_it_was(tmp_path):
    source = paths.NOTEBOOKS / "10_train.ipynb"
    copy = Path(shutil.copy(source, tmp_path))
    contents = NotebookContents(root_dir=str(tmp_path))
    model = asyncio.run(contents.get("10_train.ipynb"))
    metadata = model["content"]["metadata"]
    assert metadata["language_info"] == kernel_metadata()["language_info"]
    assert metadata["language_info"]["version"].count(".") == 2
    assert "version" not in json.loads(source.read_text())["metadata"]["language_info"]
    asyncio.run(contents.save(model, "10_train.ipynb"))
    assert json.loads((tmp_path / "10_train.ipynb").read_text()) == json.loads(source.read_text())
    assert copy.read_bytes() == source.read_bytes()


def test_the_metadata_of_another_kernel_are_left_alone(tmp_path):
    notebook = json.loads((paths.NOTEBOOKS / "10_train.ipynb").read_text())
    of_r = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}, "language_info": {"name": "R"}}
    (tmp_path / "r.ipynb").write_text(json.dumps(notebook | {"metadata": of_r}))
    contents = NotebookContents(root_dir=str(tmp_path))
    model = asyncio.run(contents.get("r.ipynb"))
    assert model["content"]["metadata"] == of_r
    assert asyncio.run(contents.get("", content=True))["type"] == "directory"


def test_every_notebook_is_kept_under_the_metadata_that_lab_writes():
    kept = {"kernelspec": kernel_metadata()["kernelspec"], "language_info": {"name": "python"}}
    notebooks = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
    assert len(notebooks) > 10
    assert [path.name for path in notebooks if json.loads(path.read_text())["metadata"] != kept] == []
