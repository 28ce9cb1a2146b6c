"""Files and folders that are whole or not there at all.

Invariants: a reader sees the old content or the new; an exception leaves the old content and nothing else; the module
needs nothing but the standard library.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tsembed.files import move_folder, write_folder, write_text

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a/b.json", "é\n")
    write_text(tmp_path / "a/b.json", "second\n")
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "b.json"]
    assert (tmp_path / "a/b.json").read_text(encoding="utf-8") == "second\n"


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "b", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "b", "new" * 100_000 + "\ud800")  # no UTF-8 has a lone surrogate
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"b": "old"}


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    write_text(tmp_path / "b", "old")

    def half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space left"):
        write_text(tmp_path / "b", "newer")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"b": "old"}


def test_the_name_of_a_folder_appears_when_it_is_whole(tmp_path):
    with write_folder(tmp_path / "model") as partial:
        (partial / "weights").write_text("1")
        assert not (tmp_path / "model").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model/weights").read_text() == "1"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    with write_folder(tmp_path / "model") as partial:
        (partial / "old").touch()

    def break_off():
        with write_folder(tmp_path / "model") as partial:
            (partial / "broken").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["old"]
    with write_folder(tmp_path / "model") as partial:
        (partial / "new").touch()
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["model", "model/new"]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    for name in ("new", "target", ".target.old"):  # the last: left by a kill
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    move_folder(tmp_path / "new", tmp_path / "target")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["target", "target/new"]


def test_it_imports_the_standard_library_alone():
    others = "{name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'__main__'}"
    code = f"import sys, tsembed.files; print(*{others})"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["tsembed"]
