"""The notebook 00_explore without a browser: which model it takes, what it warns of, what it ranks.

- The best model is that of the judged preset with the most pairs; a preset that tests the machinery and what is not
  trained come after it, and say so on yellow and in words.
- A ranking is by cosine, a search query meets documents, and the sentence below it says whether the routes agree.
- A page without a kernel has the same ranking as text.
- A short training has a folder of its own.
"""

import json
import shutil

import numpy as np
import pytest
import yaml

from study import paths
from study.presets import load_preset
from study.report.explore import images, models, output, rankings, routes
from study.report.explore.text_panel import TextPanel
from study.runs import short_training
from tests.study.report import samples
from tests.study.report.layout import faults
from tsembed.inputs import Input
from tsembed.tasks import ROUTES

CONFIGS = paths.CONFIGS


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty checkout with the real configs."""
    samples.use_folder(monkeypatch, tmp_path)
    shutil.copytree(CONFIGS, tmp_path / "configs", dirs_exist_ok=True)
    return tmp_path


def finished(preset, variant, seed=0, steps=10, score=50.0):
    folder = paths.run_dir(preset, variant, seed)
    (folder / "model").mkdir(parents=True)
    (folder / "model/model.safetensors").touch()
    (folder / "config.yaml").write_text(yaml.safe_dump({"training": {"steps": steps, "batch_size": 8}}))
    (folder / "scores.json").write_text(json.dumps([{"score": score}]))
    (folder / "done.json").write_text("{}")
    return folder


class FixedEncoder:
    """Embeds a text on the axis of its first letter, under the route `clustering` of its last."""

    def encode(self, inputs, route):
        at = -1 if route == "clustering" else 0
        one = isinstance(inputs, str)
        vectors = np.stack([np.eye(26)[ord(text[at]) - ord("a")] for text in ([inputs] if one else inputs)])
        return vectors[0] if one else vectors


def test_without_runs_the_model_is_untrained_and_yellow_says_so(root):
    chosen = models.choose(models.models())
    assert chosen.kind == models.UNTRAINED
    assert chosen.variant == "mote"
    text = models.notice(chosen)
    assert "Caution" in text
    assert "Not trained" in text
    assert "#FFF3B0" in text


def test_smoke_comes_after_every_judged_run_and_says_that_it_is_a_test(root):
    finished("smoke", "mote", steps=10_000)
    smoke = models.choose(models.models())
    assert (smoke.preset, smoke.kind) == ("smoke", models.UNJUDGED)
    assert "Only a test" in models.notice(smoke)
    assert "#FFF3B0" in models.notice(smoke)
    finished("cpu", "ic", steps=48)
    finished("cpu", "mote", seed=1, steps=48, score=40.0)
    finished("cpu", "mote", seed=2, steps=48, score=60.0)
    finished("local", "em", steps=20)
    best = models.choose(models.models())
    assert (best.preset, best.variant, best.seed) == ("cpu", "mote", 2)
    assert "Caution" not in models.notice(best)
    assert models.beside(best, models.models()).variant == "ic"
    assert models.beside(best, models.models()).kind == models.FINISHED
    assert models.choose(models.models(), "smoke").preset == "smoke"
    assert models.choose(models.models(), "cpu", "ic").variant == "ic"


def test_a_run_without_its_weights_or_its_end_is_no_model(root):
    (finished("cpu", "mote") / "done.json").unlink()
    (finished("cpu", "ic") / "model/model.safetensors").unlink()
    assert {model.kind for model in models.models()} == {models.UNTRAINED}


def test_a_wrong_name_is_an_error_with_the_known_ones(root):
    with pytest.raises(ValueError, match="'motte' is not in configs/variants; known: .*mote"):
        models.choose(models.models(), variant="motte")
    with pytest.raises(ValueError, match="'smok' is not in .*presets; known: .*smoke"):
        models.choose(models.models(), "smok")


def test_a_ranking_is_by_cosine_and_says_where_the_routes_disagree():
    rows = rankings.rankings(FixedEncoder(), "ab", ["xb", "ac", "ac", " "])
    first = rows[rows["rank"] == 1].set_index("route")
    assert first.text.to_dict() == {
        "classification": "ac",
        "clustering": "xb",
        "search_query": "ac",
        "search_document": "ac",
    }
    assert first.against["search_query"] == "search_document"
    assert len(rows) == 4 * 2, "a repeated text counts once, an empty one not at all"
    assert "disagree on the first place" in rankings.sentence(rows)
    assert "“xb”" in rankings.sentence(rows)
    alike = rankings.rankings(FixedEncoder(), "aa", ["aa", "bb"])
    assert rankings.sentence(alike) == "All routes rank the texts alike."


def test_a_text_is_never_code():
    rows = rankings.rankings(FixedEncoder(), "ab", ["a<script>b"])
    assert "<script>" not in rankings.table(rows)
    assert "a&lt;script&gt;b" in rankings.table(rows)


@pytest.mark.parametrize(("text", "texts"), [("", ["a"]), ("a", []), (" ", ["a"]), ("a", ["  "])])
def test_a_ranking_of_nothing_is_an_error(text, texts):
    with pytest.raises(ValueError, match="needs a text and, a line each"):
        rankings.rankings(FixedEncoder(), text, texts)


def test_the_right_answer_is_first_only_if_it_is_nearer_than_the_others():
    class Equal:
        routes = ROUTES

        def encode(self, inputs, route):
            return np.ones((len(inputs), 1))

    asked = images.Question("any", "image_classification", Input("which?"), (Input("right"), Input("wrong")))
    answers = images.rank(Equal(), asked)
    assert [answer.right for answer in answers] == [False, True]
    assert images.sentence(answers) == "The right answer is number 2 of 2."
    assert "✓ right answer" in images.table(asked, answers)


@pytest.mark.slow
def test_an_untrained_panel_follows_its_text_and_has_a_page_without_kernel(root, monkeypatch):
    shown = []
    monkeypatch.setattr(output, "display", lambda bundle, raw: shown.append(bundle))
    panel = TextPanel(models.models(), models.choose(models.models()), "a river bank", ["money", "water"])
    before = panel.ranking.value
    panel.show_ranking()
    panel.text.value = "cash in a savings account"
    assert panel.ranking.value != before
    assert panel.ranking.value.index("money") < panel.ranking.value.index("water")
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(shown[0])
    assert before in shown[0]["text/html"]
    assert "Not trained" in shown[0]["text/html"]
    panel.text.value = ""
    assert "Not possible: a ranking needs a text" in panel.ranking.value
    encoder = models.load(panel.model.value)
    table = routes.route_cosines(encoder, "a river bank")
    np.testing.assert_allclose(np.diag(table), 1, atol=1e-5)
    ic = models.beside(panel.model.value, panel.models)
    np.testing.assert_allclose(table, routes.route_cosines(models.load(ic), "a river bank"), atol=1e-5)
    assert faults(routes.heat_maps({panel.model.value: table, ic: table})) == []
    layers = routes.layer_cosines(encoder, "a river bank")
    assert list(layers.layer) == list(range(len(layers)))
    off_diagonal = table[np.triu_indices(4, 1)].mean()
    assert layers.cosine.iloc[-1] == pytest.approx(off_diagonal, abs=1e-4)
    assert faults(routes.layer_lines({panel.model.value: layers, ic: layers})) == []


def test_a_short_training_has_settings_of_its_own_and_a_new_folder(root):
    settings = short_training.short_settings("mote", 4)
    assert settings.training.steps == 4
    assert settings.training.warmup_steps == 2
    assert settings.training.batch_size == load_preset(short_training.PRESET).training.batch_size
    assert short_training.new_folder("mote") == root / "runs/explore/mote/1"
    (root / "runs/explore/mote/1").mkdir(parents=True)
    assert short_training.new_folder("mote") == root / "runs/explore/mote/2"
    with pytest.raises(ValueError, match="steps must be >= 2, got 1"):
        short_training.short_settings("mote", 1)
    for variant in ("base", "ea", "vl_moe_lora"):
        with pytest.raises(ValueError, match=f"'{variant}' is not trained on texts by itself"):
            short_training.short_settings(variant, 4)
