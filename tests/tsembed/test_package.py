"""The face of the package.

- `import tsembed` takes less than 50 ms and loads no torch.
- Every public name is what the type checker is told that it is; an unknown name is an AttributeError.
- A name whose package is not installed says which extra brings it.
- Outside the folders of the extras nothing but the declared dependencies is imported.
- The command `tsembed export` writes a folder, and gives one clear line for what is no encoder.
"""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tsembed
from tests.tiny import tiny
from tsembed import cli

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tsembed"
EXTRAS = {  # of a part or file: packages that its extra brings
    "moe_lora": {"peft"},
    "training": {"accelerate", "datasets"},
    "data": {"datasets", "pyarrow", "yaml", "PIL"},
    "evaluation": {"mteb", "datasets", "pandas", "pyarrow", "scipy"},
    "export": {"sentence_transformers", "yaml", "huggingface_hub"},
    "fitting": {"pyarrow", "datasets", "sentence_transformers"},
    "encoder/adapters.py": {"peft"},
    "encoder/tiny_qwen.py": {"tokenizers"},
    "encoder/image_processing.py": {"PIL"},
    "mote/sentence_transformer.py": {"sentence_transformers"},
    "inputs.py": {"PIL"},
}


def test_import_is_fast_and_loads_no_torch():
    code = "import sys, time; t = time.perf_counter(); import tsembed; t = time.perf_counter() - t\n"
    code += "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules); print(t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT)) for _ in range(5)]
    assert min(times) < 0.05


def test_public_names_are_those_of_the_type_checker():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in checking.body for alias in node.names}
    assert sorted(typed) == sorted(tsembed.__all__)
    for name, module in typed.items():
        assert getattr(tsembed, name) is getattr(importlib.import_module(f"tsembed.{module}"), name)
        assert name in dir(tsembed)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'upcycled'"):
        tsembed.upcycled  # noqa: B018


def test_a_missing_package_names_its_extra():
    code = "import sys; sys.modules['peft'] = None\nimport tsembed\ntsembed.MoeLoraConfig"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "tsembed.MoeLoraConfig needs peft: pip install 'tsembed[peft]'" in result.stderr


def _run_nodes(tree):
    """The nodes of a module that run: what stands under `if TYPE_CHECKING` is for the type checker alone."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return
    yield tree
    for node in ast.iter_child_nodes(tree):
        yield from _run_nodes(node)


def test_only_declared_dependencies_are_imported_outside_the_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {name.split(">")[0] for name in project["dependencies"]}
    assert len(declared) == 6
    declared.add("huggingface_hub")  # transformers does not install without it
    undeclared = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        extra = EXTRAS.get(place, set()) | EXTRAS.get(place.split("/")[0], set())
        for node in _run_nodes(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            top = {name.split(".")[0] for name in names} - sys.stdlib_module_names - declared - extra - {"tsembed"}
            undeclared += [f"{place}: {name}" for name in sorted(top)]
    assert undeclared == []


def test_the_command_exports_a_saved_encoder(tmp_path, tokenizer, capsys):
    from tsembed.encoder.text import Encoder

    Encoder(tiny("bert").eval(), tokenizer).save(tmp_path / "model")
    assert cli.main(["export", str(tmp_path / "model"), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "modules.json").is_file()
    assert "README.md" in capsys.readouterr().out
    assert cli.main(["export", str(tmp_path / "model"), str(tmp_path / "out")]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path), str(tmp_path / "other")]) == 1
    assert "no saved encoder" in capsys.readouterr().err
