"""Notebooks 30 and 31 on runs that nobody trained.

Invariants: they judge every claim that names them, and find the effects that the runs have; a preset without such runs
is said to have none, and no claim is judged; what a preset lacks leaves the rest as it is.
"""

import ast
import json

import pytest

from study import paths
from study.analysis import claims
from study.report import style
from study.report.tables import write as tables
from tests.study.report.adapter_runs import STUDIES, write_study
from tests.study.report.samples import use_folder

NOTEBOOKS, CONFIGS, REFERENCES = paths.NOTEBOOKS, paths.CONFIGS, paths.REFERENCES


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run a notebook's cells here; returns what it displayed, and the tables and figures that it saved by name."""
    use_folder(monkeypatch, tmp_path)
    monkeypatch.setattr(paths, "REFERENCES", REFERENCES)

    def run(name: str, studies, seeds: int = 2):
        write_study(tmp_path, configs=CONFIGS, studies=studies, seeds=seeds)
        shown, saved = [], {}
        monkeypatch.setattr("IPython.display.display", shown.append)
        monkeypatch.setattr(tables, "save", lambda frame, name, raw=None, **_: saved.setdefault(name, (frame, raw)))
        monkeypatch.setattr(style, "save", lambda figure, name, data, **_: saved.setdefault(name, (figure, data)))
        space = {}
        for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]:
            if cell["cell_type"] == "code":
                tree = ast.parse("".join(cell["source"]))
                last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
                exec(compile(tree, cell["id"], "exec"), space)
                if "parameters" in cell["metadata"].get("tags", []):
                    space["preset"] = "tiny"
                if last is not None:
                    shown.append(eval(compile(ast.Expression(last.value), cell["id"], "eval"), space))
        return [found.data for found in shown if hasattr(found, "data")], saved

    return run


def verdicts(saved, name):
    return saved[name][1].set_index("id").verdict.to_dict()


def test_notebook_30_judges_its_claims(execute):
    shown, saved = execute("30_tsembed", tuple(STUDIES))
    found = verdicts(saved, "claims_tsembed")
    assert list(found) == [claim.id for claim in claims.claims("30_tsembed")]
    true = ("ts-moe", "ts-eans", "ts-stages", "ts-lora", "ts-permuted", "ts-deviation", "ts-centered")
    assert {found[name] for name in true} == {"reproduced"}
    assert found["ts-task"] == "contradicted", "a method without an effect, against one of a point"
    assert {"tsembed_scores", "tsembed_gains", "tsembed_tests", "tsembed_ablations", "mmeb_published"} <= set(saved)
    assert "2 seeds of the main rows" in shown[0] and "**1** contradicted" in shown[-1]


def test_notebook_31_judges_its_claims(execute):
    shown, saved = execute("31_expert_routing", ("captions", "images"))
    found = verdicts(saved, "claims_expert_routing")
    assert list(found) == [claim.id for claim in claims.claims("31_expert_routing")]
    assert set(found.values()) - {found.pop("ts-specialise")} == {"reproduced"}, "no stage has an effect there"
    assert {"expert_use_tsembed", "specialisation", "stages", "routing_proxy", "adapter_conflict"} <= set(saved)
    assert "**5** reproduced" in shown[-1]


@pytest.mark.parametrize("name", ["30_tsembed", "31_expert_routing"])
def test_a_preset_without_such_runs_is_said_to_have_none(execute, name):
    shown, saved = execute(name, ())
    assert set(saved) <= {"mmeb_published"}
    assert "has no such runs" in shown[0] or "has no runs on pictures" in shown[0]
    assert "**no** claim is judged" in shown[-1]


def test_text_alone_is_judged_alone(execute):
    shown, saved = execute("30_tsembed", ("text_adapters",))
    expected = ["ts-text-moe", "ts-text-moe-slow", "ts-text-eans", "ts-text-deviation", "ts-text-centered"]
    assert list(verdicts(saved, "claims_tsembed")) == expected
    assert "tsembed_text_gains" in saved and "tsembed_scores" not in saved
