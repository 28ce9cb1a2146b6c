"""Invariants of a result's provenance:

- the commit and the changes are the checkout's own; a folder inside another repository, or without git, has none.
"""

import subprocess

import pytest

from study import paths
from study.runs import provenance


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(
        ["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "outer/inner/study").mkdir(parents=True)
    (tmp_path / "outer/inner/study/a.py").write_text("a = 1")
    git(tmp_path / "outer", "init", "-q")
    git(tmp_path / "outer", "add", ".")
    git(tmp_path / "outer", "commit", "-q", "-m", "first")
    return tmp_path / "outer"


def test_a_checkout_has_its_own_commit_and_changes(repository, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", repository)
    head = git(repository, "rev-parse", "HEAD")
    assert provenance.commit() == {"commit": head, "uncommitted_changes": False}
    (repository / "notes.txt").write_text("new, and neither code nor settings")
    assert provenance.commit()["uncommitted_changes"] is False
    (repository / "study").mkdir()
    (repository / "study/new.py").write_text("b = 2")
    assert provenance.commit() == {"commit": head, "uncommitted_changes": True}


def test_a_folder_inside_another_repository_or_without_git_has_no_commit(repository, monkeypatch, tmp_path):
    for folder in (repository / "inner", tmp_path):
        monkeypatch.setattr(paths, "ROOT", folder)
        assert provenance.commit() == {"commit": "unknown", "uncommitted_changes": None}
    monkeypatch.setattr(paths, "ROOT", repository)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == {"commit": "unknown", "uncommitted_changes": None}
