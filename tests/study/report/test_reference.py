"""The committed reference of a preset.

Invariants: it is whole or not there; it refuses missing runs, other settings and mixed commits, by name; no link of
its pages is dead; no file of it names the machine; nothing of a single run but its small results is in it.
"""

import json
import subprocess

import pytest
import yaml

from study import presets
from study.report.notebook import mark_of
from study.report.reference import freeze, machine_names
from study.selection import Selection, choose
from tsembed.evaluation import items

ENVIRONMENT = {
    "commit": "a" * 40,
    "uncommitted_changes": False,
    "requirements_lock_sha256": "b" * 64,
    "python": "3.11.7",
    "platform": "Linux",
    "versions": {"torch": "2.13.0"},
    "processor": "AMD EPYC",
    "cpu_capability": "AVX2",
    "cores": 2,
    "threads": 2,
    "memory_gib": 8.0,
    "gpus": [],
}
PRESET = "about: a test\ndata: {source: local}\ntraining: {steps: 9}\nvariants: {em: 1, ic: 1}\n"
SCORES = [("STS", "sts_a", "cosine_spearman", 70.0), ("Retrieval", "set_b", "ndcg_at_10", 50.0)]


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def finish(study, variant, *, gain=0.0, path="/somewhere/data", **environment):
    """Write the files of a finished run of seed 0."""
    settings = presets.resolve(presets.load_preset("tiny"), variant, 0).model_dump(mode="json")
    settings["data"]["path"] = path
    folder = study / f"runs/tiny/{variant}/seed0"
    put(folder / "config.yaml", yaml.safe_dump(settings | {"data_sha256": "c" * 64}))
    keys = ("task_type", "dataset", "metric", "score")
    rows = [dict(zip(keys, row, strict=True)) for row in SCORES]
    put(folder / "scores.json", [row | {"score": row["score"] + gain} for row in rows])
    put(folder / "env.json", ENVIRONMENT | environment)
    put(folder / "similarity.csv", f"text,first,second,cosine\n0,a,b,{0.5 + gain / 100}\n1,a,b,{0.7 + gain / 100}\n")
    put(folder / "model" / "big.bin", "x")
    put(folder / "done.json", {"seconds": {"training": 2.0, "evaluation": 1.0}, "finished": f"2026-01-0{len(variant)}"})
    return folder


@pytest.fixture
def finished(study, write_notebook):
    """A finished study of two runs and one analysis, as on disk."""
    put(study / "configs/presets/tiny.yaml", PRESET)
    put(study / "configs/variants/text.yaml", "em: {label: EM, instruction: false}\nic: {label: IC}\n")
    finish(study, "em")
    finish(study, "ic", gain=1.0)
    about = {"part": "eval", "name": "sts_a", "format": "sts", "task": "", "rows": {"rows": 9}, "sha256": "d" * 64}
    about |= {"licence": "CC0", "origin": "a shelf, a book", "group": "", "notes": {}}
    listing = {"source": "local", "seed": 0, "sha256": "c" * 64, "datasets": [about], "unused": []}
    put(study / "runs/tiny/data/manifest.json", listing)
    executed = study / "reports/tiny/notebooks/20_gain.ipynb"
    executed.parent.mkdir(parents=True)
    link = '<a href="../reports/tiny/tables/gain.csv">CSV</a>'
    write_notebook("20_gain", (link,), "x = 1").rename(executed)
    write_notebook("20_gain", "x = 1")
    write_notebook("10_train", "x = 1")
    mark_of(executed).write_text(json.dumps({"parameters": {"preset": "tiny"}}))
    for kind in ("csv", "tex"):
        put(study / f"reports/tiny/tables/gain.{kind}", "gain\n1\n")
    put(study / "reports/tiny/figures/gain.csv", "gain\n1\n")
    put(study / "reports/tiny/figures/runs/em-seed0-loss.csv", "loss\n1\n")
    put(study / "reports/tiny/runs/em-seed0.html", "<p>a run</p>")
    return study


def test_it_holds_results_report_and_provenance_and_nothing_else(finished):
    put(finished / "runs/tiny/ic/seed0/use.csv", "x" * (freeze.SMALL + 1))
    folder = freeze.freeze("tiny")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    names = ("config.yaml", "done.json", "env.json", "scores.json", "similarity.csv")
    assert files == {
        "reference.json",
        "datasets.csv",
        *(f"{page}.html" for page in ("index", "claims", "figures", "data", "provenance")),
        "notebooks/20_gain.html",
        "tables/gain.csv",
        "tables/gain.tex",
        "figures/gain.csv",
        *(f"results/{v}/seed0/{n}" for v in ("em", "ic") for n in names),
    }
    about = json.loads((folder / "reference.json").read_text())
    assert (about["runs"], about["commits"], about["seconds"]["training"]) == (2, ["a" * 40], 4.0)
    assert about["too_large"] == {"use.csv": 1}, "what is left out is said"
    row = (folder / "datasets.csv").read_text().splitlines()[1]
    assert row.startswith('eval,sts_a,sts,,rows:9,CC0,"a shelf, a book"')
    assert about["hardware"][0]["cpu_capability"] == "AVX2"
    assert len(about["settings_sha256"]) == 64
    text = (folder / "index.html").read_text()
    assert "committed reference" in text
    assert "verify tiny" in text
    assert "runs/em-seed0.html" not in text


def test_a_part_of_a_preset_says_of_how_many_runs_it_is(finished):
    choose("tiny", Selection(only=("em",)))
    (finished / "runs/tiny/ic/seed0/done.json").unlink()  # not of the part: it makes no report incomplete
    folder = freeze.freeze("tiny")
    about = json.loads((folder / "reference.json").read_text())
    assert (about["runs"], about["planned"]) == (1, 2)
    assert not (folder / "results/ic").exists()
    text = (folder / "index.html").read_text()
    assert "1 of its 2 runs" in text
    assert "not complete" not in text
    assert "ic/seed0" not in (folder / "provenance.html").read_text()


def test_items_are_hashed_and_stay_out_of_git(finished, request):
    one = finished / "runs/tiny/ic/seed0/items.parquet"
    items.write(one, {"sts_a": items.Items("cosine", ["0"], [0.5])})
    folder = freeze.freeze("tiny")
    about = json.loads((folder / "reference.json").read_text())
    assert about["items_sha256"] == {"ic/seed0": items.sha256(one)}, "a run of before items is as good as any"
    assert (folder / "results/ic/seed0/items.parquet").read_bytes() == one.read_bytes()
    path = "reports/reference/cpu/results/ic/seed0/items.parquet"
    ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=request.config.rootpath, check=False)
    assert ignored.returncode == 0


def test_no_path_is_in_the_settings_and_the_run_keeps_its_own(finished):
    folder = freeze.freeze("tiny")
    assert yaml.safe_load((folder / "results/em/seed0/config.yaml").read_text())["data"]["path"] is None
    assert "/somewhere" in (finished / "runs/tiny/em/seed0/config.yaml").read_text()
    both = [freeze.settings(f / "em/seed0") for f in (folder / "results", finished / "runs/tiny")]
    assert both[0] == both[1]


def test_it_is_replaced_as_a_whole_or_not_at_all(finished):
    folder = freeze.freeze("tiny")
    put(folder / "tables/old.csv", "x")
    put(finished / "reports/tiny/tables/bad.csv", f"file\n{finished}/x\n")
    put(finished / "reports/tiny/tables/bad.tex", "file")
    with pytest.raises(ValueError, match=r"tables/bad.csv names this machine or another: .*"):
        freeze.freeze("tiny")
    assert (folder / "tables/old.csv").is_file()
    put(finished / "reports/tiny/tables/bad.csv", "file\nx\n")
    freeze.freeze("tiny")
    assert not (folder / "tables/old.csv").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"]


def test_a_notebook_whose_runs_the_preset_lacks_is_not_asked_for(finished, write_notebook):
    write_notebook("31_expert_routing", "x = 1")
    assert [page.stem for page in freeze.freeze("tiny").glob("notebooks/*.html")] == ["20_gain"]


def test_a_missing_run_or_notebook_is_named(finished):
    mark_of(finished / "reports/tiny/notebooks/20_gain.ipynb").unlink()
    with pytest.raises(ValueError, match="not executed: 20_gain; run ./run_all.sh tiny"):
        freeze.freeze("tiny")
    (finished / "runs/tiny/ic/seed0/done.json").unlink()
    with pytest.raises(ValueError, match="not finished: ic/seed0; run ./run_all.sh tiny"):
        freeze.freeze("tiny")


def test_runs_of_other_settings_are_refused(finished):
    put(finished / "configs/presets/tiny.yaml", PRESET.replace("steps: 9", "steps: 10"))
    with pytest.raises(ValueError, match="config.yaml is not of the preset as it is now: training.steps was 9, is 10"):
        freeze.freeze("tiny")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"commit": "d" * 40}, "runs come from 2 commits .aaaaaaaaaaaa, dddddddddddd."),
        ({"uncommitted_changes": True}, "uncommitted changes"),
        ({"requirements_lock_sha256": "e" * 64}, "2 locks"),
    ],
)
def test_mixed_commits_are_refused_unless_allowed(finished, environment, message):
    finish(finished, "ic", **environment)
    with pytest.raises(ValueError, match=message):
        freeze.freeze("tiny")
    about = json.loads((freeze.freeze("tiny", allow_mixed=True) / "reference.json").read_text())
    assert about["uncommitted_changes"] or len(about["commits"] + about["requirements_lock_sha256"]) == 3


def test_a_link_to_a_heading_with_an_apostrophe_is_none_that_is_dead(tmp_path):
    (tmp_path / "index.html").write_text('<a href="#a&#39;b">x</a> <h2 id="a\'b">x</h2> <a href="#gone&#39;s">y</a>')
    assert freeze.dead_links(tmp_path) == ["index.html: the link #gone&#39;s leads nowhere"]


def test_a_dead_link_is_refused(finished):
    (finished / "reports/tiny/tables/gain.csv").unlink()
    with pytest.raises(ValueError, match="notebooks/20_gain.html: the link ../tables/gain.csv leads nowhere"):
        freeze.freeze("tiny")


def test_a_key_that_a_run_was_made_before_has_its_default(finished):
    path = finished / "runs/tiny/em/seed0/config.yaml"
    content = yaml.safe_load(path.read_text())
    before = freeze.settings(path.parent)
    del content["training"]["max_grad_norm"]
    put(path, yaml.safe_dump(content))
    assert freeze.settings(path.parent) == before


@pytest.mark.parametrize("text", ["{}home/me/x", "see {}tmp/a1 there", "'{}work/b'", "node-7.example"])
def test_paths_and_names_are_found(tmp_path, text):
    put(tmp_path / "a.html", f"<p>{text.format('/')}</p>")
    assert len(machine_names.traces(tmp_path / "a.html", ["node-7.example"])) == 1


@pytest.mark.parametrize("text", ["https://a.org/home/x", "../data/x", "data:image/png;base64,/tmp/ab", "node-71"])
def test_what_only_looks_like_one_is_not(tmp_path, text):
    put(tmp_path / "a.html", f"<p>{text}</p>")
    assert machine_names.traces(tmp_path / "a.html", ["node-7"]) == []


def test_the_index_of_the_environment_is_a_name(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:word@mirror.example:8443/simple")
    public = machine_names.PUBLIC_INDEXES[0]
    monkeypatch.setenv("UV_INDEX_URL", f"https://{public}/simple")
    monkeypatch.setenv("UV_EXTRA_INDEX_URL", f"https://not-{public}/simple")
    names = machine_names.machine_names()
    assert {"mirror.example", f"not-{public}"} <= set(names)
    assert public not in names
