import functools

import pytest

from . import samples


@pytest.fixture
def study(tmp_path, monkeypatch):
    """An empty checkout's root."""
    samples.use_folder(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture
def write_notebook(study):
    """`samples.write_notebook` into notebooks/."""
    return functools.partial(samples.write_notebook, study / "notebooks")
