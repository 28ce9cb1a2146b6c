"""The code that the README and the guides show runs as it stands, in the order of the page.

Three things are put in place of what a test has not: the embedded copy of all-MiniLM-L6-v2 for its name on the hub, an
untrained MoTE encoder where docs/running.md speaks of a finished run, and a dozen pairs for the user's DATA.
docs/sentence_transformers.md has a test of its own.
"""

import json
import re
import subprocess
import sys

import pytest

from study import paths
from tsembed.encoder.backbones import embedded_folder
from tsembed.encoder.build import build
from tsembed.settings import Backbone, Variant

ON_THE_HUB, EMBEDDED = "sentence-transformers/all-MiniLM-L6-v2", "embedded:all-MiniLM-L6-v2"
PAGES = [paths.ROOT / "README.md", *sorted((paths.ROOT / "docs").glob("*.md"))]
WITH_CODE = [page for page in PAGES if "```python" in page.read_text() and page.stem != "sentence_transformers"]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page.name == "running.md":
        routes = ("search_query", "search_document", "classification", "clustering")
        variant = Variant(label="MoTE", instruction=True, experts={route: route for route in routes})
        build(Backbone(name=EMBEDDED), variant).save(tmp_path / "runs/cpu/mote/seed0/model")
    if page.name == "fit.md":
        rows = [json.dumps({"anchor": f"word {i}", "positive": f"number {i}"}) for i in range(12)]
        (tmp_path / "DATA/pairs/faq").mkdir(parents=True)
        (tmp_path / "DATA/pairs/faq/train.jsonl").write_text("\n".join(rows))
    code = "".join(blocks(page, "python"))
    exec(compile(code.replace(ON_THE_HUB, str(embedded_folder(EMBEDDED))), page.name, "exec"), {})


def test_the_training_loop_of_the_readme_trains(capsys):
    loop = blocks(PAGES[0], "python")[0]
    exec(compile(loop.replace(ON_THE_HUB, str(embedded_folder(EMBEDDED))), "README.md", "exec"), {})
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 2


def test_the_readme_is_among_them_and_every_study_command_exists():
    assert PAGES[0] in WITH_CODE
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    commands = {words[3] for line in lines if (words := line.split())[:3] == ["python", "-m", "study"]}
    shown = subprocess.run([sys.executable, "-m", "study"], cwd=paths.ROOT, capture_output=True, text=True).stdout
    assert commands
    assert all(f"  {command} " in shown for command in commands)
    help_text = subprocess.run([paths.ROOT / "run_all.sh", "--help"], capture_output=True, text=True).stdout
    table = re.findall(r"`\./run_all\.sh (\w+)", "".join(page.read_text() for page in PAGES))
    presets = {path.stem for path in (paths.CONFIGS / "presets").glob("*.yaml")}
    assert len(table) > 5
    assert [word for word in table if word not in presets and f"  {word} " not in help_text] == []
