"""Invariants of the settings.

- Every preset and variant in configs/ is valid; the defaults are the paper's.
- A wrong value is one error with file, key, rule and value. Settings cannot change after they are read.
- A variant is scored on the task types that its tasks serve.
"""

import pytest
import yaml
from pydantic import ValidationError

from study import paths
from study.presets import Preset, RunSettings, load_preset, resolve
from study.variant_rows import load_variants
from tsembed.settings import Training, Variant
from tsembed.tasks import ROUTES


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """Writes a preset and variants into a folder of their own, and reads the preset."""
    monkeypatch.setattr(paths, "CONFIGS", tmp_path)

    def write(preset=None, variants=None):
        content = {"about": "", "data": {"source": "embedded"}, "variants": {"em": 1}} | (preset or {})
        for name, what in (("presets/test", content), ("variants/text", variants or {"em": {"label": "EM"}})):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(what))
        return load_preset("test")

    return write


@pytest.mark.parametrize("name", sorted(p.stem for p in (paths.CONFIGS / "presets").glob("*.yaml")))
def test_every_preset_resolves(name):
    preset = load_preset(name)
    assert preset.name == name
    assert preset.about
    for variant, seed in preset.runs():
        assert resolve(preset, variant, seed).seed == seed


def test_what_a_run_wrote_is_read_again():
    variants = load_variants()
    for name in [p.stem for p in (paths.CONFIGS / "presets").glob("*.yaml")]:
        preset = load_preset(name)
        for variant in {v for v, _ in preset.runs()}:
            settings = resolve(preset, variant, 0)
            assert RunSettings.model_validate(settings.model_dump(mode="json")) == settings, (name, variant)
    for name, row in variants.items():
        assert Variant.model_validate(row.model_dump(mode="json")) == row, name


def test_embedded_text_is_the_docstrings_unless_suites_are_named(configs):
    assert configs().data.suites == ("docstrings",)
    preset = configs({"data": {"source": "embedded", "suites": ["docstrings", "icd10"]}})
    assert preset.data.suites == ("docstrings", "icd10")
    older = resolve(preset, "em", 0).model_dump(mode="json")
    del older["data"]["suites"]
    assert RunSettings.model_validate(older).data.suites == ("docstrings",)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"source": "embedded", "suites": []}, "data.suites: .*at least 1 item"),
        ({"source": "embedded", "suites": ["icd9"]}, "data.suites.0: .*'docstrings' or 'icd10'"),
        ({"source": "embedded", "suites": ["icd10", "icd10"]}, "suites: each at most once, not icd10, icd10"),
        ({"source": "digits", "suites": ["icd10"]}, "suites: only the source 'embedded' has them, not 'digits'"),
    ],
)
def test_suites_that_are_none_or_of_another_source_are_errors(configs, data, fault):
    with pytest.raises(ValueError, match=rf"test\.yaml: .*{fault}"):
        configs({"data": data})


def test_the_defaults_are_the_papers():
    training = Training()
    assert (training.batch_size, training.learning_rate, training.weight_decay, training.steps) == (
        6144,
        5e-6,
        0.1,
        None,
    )
    variants = load_variants()
    assert variants["mote"].experts == {r: r for r in ROUTES}
    assert variants["mote"].instruction
    assert variants["ic"].experts is None
    assert variants["ic"].instruction
    assert not variants["em"].instruction


def test_specialised_models_are_scored_on_their_types():
    variants = load_variants()
    assert variants["sem_retrieval"].task_types == ("Retrieval", "Reranking")
    assert variants["sem_classification"].task_types == ("Classification", "PairClassification", "STS", "Summarization")
    assert variants["sem_clustering"].task_types == ("Clustering",)
    assert len(variants["em"].task_types) == 7
    assert variants["mote_cluster_route"].task_types == ("PairClassification", "STS", "Summarization")


def test_a_row_may_have_a_rate_of_its_own(configs):
    rows = {"em": {"label": "EM"}, "slow": {"label": "slow", "learning_rate_scale": 0.25}}
    preset = configs({"training": {"learning_rate": 4e-4}, "variants": {"em": 1, "slow": 1}}, rows)
    rates = [resolve(preset, name, 0).training.learning_rate for name in rows]
    assert rates == pytest.approx([4e-4, 1e-4])
    assert preset.training.learning_rate == 4e-4


def test_seeds_come_seed_by_seed(configs):
    preset = configs({"variants": {"em": 2, "ic": 1}}, {"em": {"label": "EM"}, "ic": {"label": "IC"}})
    assert preset.runs() == [("em", 0), ("ic", 0), ("em", 1)]


def test_seeds_start_where_the_preset_says(configs):
    variants = {"em": {"label": "EM"}, "ic": {"label": "IC"}}
    preset = configs({"first_seed": 10, "variants": {"em": 2, "ic": 1}, "share_process": True}, variants)
    assert preset.runs() == [("em", 10), ("ic", 10), ("em", 11)]
    assert [preset.variants_of_node("all", seed) for seed in (10, 11)] == [["em", "ic"], ["em"]]


def test_a_merged_row_waits_for_all_rows_whose_weights_it_averages():
    variants = load_variants()
    assert variants["sem_mean_base"].others == ("sem_classification", "sem_clustering", "sem_retrieval")
    assert variants["mote_no_prefix"].others == ("mote",)


@pytest.mark.parametrize(
    ("preset", "variants", "message"),
    [
        ({"training": {"step": 3}}, None, r"test\.yaml: training\.step: Extra inputs .*got 3"),
        ({"training": {"steps": -1}}, None, r"training\.steps: Input should be greater than or equal to 0 \(got -1\)"),
        ({"data": {"source": "hub"}}, None, "needs a pinned `revision`"),
        ({"training": {"weight_decay": float("inf")}}, None, r"training\.weight_decay: .*finite number \(got inf\)"),
        ({"training": {"learning_rate": float("nan")}}, None, r"training\.learning_rate: .*\(got nan\)"),
        ({"variants": {}}, None, "variants: at least one is needed; the preset itself has none"),
        ({"experiments": {"more": {"variants": {}}}}, None, "variants: at least one is needed; more has none"),
        (
            {"same_source": {"x": ["a", "b"], "y": ["b", "c"]}},
            None,
            r"test\.yaml: \(all\): .*same_source: b must have one source",
        ),
        ({"variants": {"icc": 1}}, None, r"\['icc'\] are not in configs/variants; known: em"),
        ({}, {"em": {"label": "EM", "temperature": 0}}, r"text\.yaml: em: temperature.*greater than 0"),
        ({}, {"em": {"label": "EM", "tasks": ["sts"]}}, r"tasks \['sts'\] are unknown; known: classification"),
        (
            {},
            {"em": {"label": "E", "experts": {"search_query": "q"}}},
            r"no expert for \['classification', 'clustering'",
        ),
        ({}, {"em": {"label": "E", "experts": {"query": "q"}}}, r"routes \['query'\], which are unknown"),
        (
            {},
            {"em": {"label": "E", "token_routing": {"num_experts": 2, "top_k": 3}}},
            r"text\.yaml: em: token_routing: .*top_k 3 must be <= num_experts 2",
        ),
        (
            {},
            {"em": {"label": "E", "negatives": {"weights": "hardness", "top_k": 2, "centered": True}}},
            r"negatives: .*weights by embedding .hardness. know no routing: take out centered, top_k",
        ),
        (
            {},
            {"em": {"label": "E", "negatives": {"centered": True, "similarity": "kl"}}},
            r"text\.yaml: em: negatives: .*centered signatures are no probabilities, so similarity must be cosine",
        ),
        (
            {},
            {"em": {"label": "E", "token_routing": {}, "experts": {r: r for r in ROUTES}}},
            "experts .routed by task. and token_routing exclude each other",
        ),
        ({}, {"em": {"label": "E", "blocks": [-1]}}, r"blocks.*greater than or equal to 0 \(got -1\)"),
        ({}, {"em": {"label": "E", "batching": "heterogeneous"}}, "temperature must be a number"),
        ({}, {"em": {"label": "E", "weights_of": "ic"}}, "weights_of 'ic' is not trained again: set trained: false"),
        ({}, {"em": {"label": "E", "average": True}}, "average needs weights_of"),
        ({}, {"em": {"label": "E", "merge": {"ic": 0.5, "backbone": 0.5}}}, "merge: set trained: false"),
        (
            {},
            {"em": {"label": "E", "trained": False, "merge": {"ic": 0.5, "backbone": 0.4}}},
            "two or more shares with the sum 1, got {'backbone': 0.4, 'ic': 0.5}",
        ),
        (
            {"variants": {"em": 1, "half": 2}},
            {"em": {"label": "E"}, "half": {"label": "H", "trained": False, "merge": {"em": 0.5, "backbone": 0.5}}},
            "half has 2 seeds of em's weights, which has fewer",
        ),
        (
            {},
            {"em": {"label": "E", "instructions": {"search_query": "q: "}}},
            r"instructions: need the routes classification, .* got \['search_query'\]",
        ),
        (
            {},
            {"em": {"label": "E", "instruction": False, "instructions": {r: "" for r in ROUTES}}},
            "only a variant of text with instruction: true has them",
        ),
        ({}, {"em": {"label": "E", "learning_rate_scale": 0}}, "learning_rate_scale.*greater than 0"),
        (
            {},
            {"em": {"label": "E", "adapter": {"kind": "lora"}, "negatives": {"weights": "hardness"}}},
            "first_stage 'specialised' is measured on a moe_lora adapter; give its share of the steps",
        ),
        (
            {},
            {"em": {"label": "E", "adapter": {"information_loss": 0.1}}},
            "information_of 'task' needs batches of several tasks, not 'task_aware' ones",
        ),
        (
            {},
            {"em": {"label": "E", "adapter": {"kind": "lora", "information_loss": 0.1, "information_of": "set"}}},
            "information_loss 0.1 needs the learned routers of kind 'moe_lora'",
        ),
        (
            {},
            {"em": {"label": "E", "adapter": {"router": "task"}, "experts": {"c1": "x"}, "routed_by": "set"}},
            "routed_by 'set' needs an adapter with router 'task' and shared_experts",
        ),
        ({}, {"em": {"label": "E", "batching": "mixed"}}, "mixed batches hold several tasks, so temperature must be a"),
        ({}, {"em": {"label": "E", "task_of_type": {"sts": "clustering"}}}, r"unknown types \['sts'\]; known: Retr"),
        ({}, {"em": {"label": "E", "task_of_type": {"STS": "topic"}}}, r"unknown tasks \['topic'\]; known: class"),
        (
            {"variants": {"em": 1, "ea": 2}},
            {"em": {"label": "E"}, "ea": {"label": "EA", "weights_of": "em", "trained": False}},
            "ea has 2 seeds of em's weights, which has fewer",
        ),
    ],
)
def test_wrong_values_name_file_key_rule_and_value(configs, preset, variants, message):
    with pytest.raises(ValueError, match=message):
        configs(preset, variants)


def test_unknown_names_list_the_known_ones(configs):
    configs()
    with pytest.raises(ValueError, match="'cpus' is not in .*known: test"):
        load_preset("cpus")
    with pytest.raises(ValueError, match="variant 'mote' is not in configs/variants; known: em"):
        resolve(load_preset("test"), "mote", 0)
    (paths.CONFIGS / "presets" / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"bad\.yaml: not valid YAML"):
        load_preset("bad")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"about: a\nvariants: {em: 1}\nvariants: {ic: 1}\n", "the key 'variants' of line 2 stands again in line 3"),
        (b"about: a\ntraining: {steps: 3, steps: 4}\n", "the key 'steps' of line 2 stands again in line 2"),
        ("about: très grand\n".encode("latin-1"), r"not UTF-8 \(byte 9\)"),
        (b"about: a\n2: b\n", "YAML reads the key 2 as int; write it in quotes"),
        (b"- a\n", "must hold keys and values, not list"),
        (b"about: 2020-13-40\n", "not valid YAML: month must be in 1..12"),
        (b"about: !!python/object:os.system x\n", "not valid YAML: could not determine a constructor"),
        (b"a: &a [*a]\n", "a: Extra inputs are not permitted"),
    ],
)
def test_a_file_that_is_no_mapping_of_settings_is_one_line(configs, content, message):
    configs()
    (paths.CONFIGS / "presets" / "odd.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=rf"odd\.yaml: .*{message}") as error:
        load_preset("odd")
    assert "\n" not in str(error.value)


def test_a_merge_key_is_no_key_that_stands_twice(configs):
    configs()
    content = "about: a\ndata: {source: embedded}\nvariants: {<<: {em: 2}, <<: {em: 1}}\n"
    (paths.CONFIGS / "presets" / "merged.yaml").write_text(content)
    assert "em" in load_preset("merged").variants


@pytest.mark.parametrize("name", ["7", "0614", "1e3", "a b", "nan", "False", "ä", "a/b"])
def test_a_name_that_reads_as_something_else_is_no_name_of_a_preset(configs, name):
    configs()
    with pytest.raises(ValueError, match="cannot be the name of a preset: one begins with a letter"):
        load_preset(name)


def test_runs_that_share_a_process_are_one_node(configs):
    variants = {name: {"label": name} for name in ("em", "ic", "mote", "tlr")}
    more = {"variants": {"mote": 1, "tlr": 2}, "share_process": True}
    preset = configs({"variants": {"em": 2, "ic": 1}, "experiments": {"more": more}}, variants)
    assert [preset.node_name(variant) for variant in ("em", "tlr")] == ["em", "more"]
    assert [preset.variants_of_node(name, 1) for name in ("em", "more")] == [["em"], ["tlr"]]
    assert [preset.variants_of_node(name, 0) for name in ("all", "tlr")] == [["all"], ["tlr"]]
    preset = configs({"variants": {"em": 2, "ic": 1}, "share_process": True}, variants)
    assert preset.node_name("ic") == "all"
    assert [preset.variants_of_node("all", seed) for seed in (0, 1)] == [["em", "ic"], ["em"]]
    rule = "experiments: all: an experiment must not have the name of a variant, nor 'all'"
    with pytest.raises(ValueError, match=rule):
        configs({"experiments": {"all": {"variants": {"ic": 1}}}}, variants)


def test_weights_that_nobody_trains_have_one_run_for_all_seeds(configs):
    variants = {"em": {"label": "EM"}, "more": {"label": "more", "starts_from": "em"}}
    two = {"variants": {"em": 1, "more": 2}}
    with pytest.raises(ValueError, match="more has 2 seeds of em's weights, which has fewer"):
        configs(two, variants)
    untrained = variants | {"em": {"label": "EM", "trained": False}}
    preset = configs(two | {"first_seed": 3}, untrained)
    assert [preset.seed_of_weights(name, 4) for name in ("em", "more")] == [3, 4]
    assert preset.runs() == [("em", 3), ("more", 3), ("more", 4)]
    assert resolve(preset, "em", 3).draws_nothing
    with pytest.raises(ValueError, match="more has 2 seeds of em's weights, which has fewer"):
        configs(two | {"backbone": {"name": "random:qwen2-vl"}}, untrained)  # other weights for every seed


def test_a_preset_of_former_key_names_still_loads(configs):
    variants = {name: {"label": name} for name in ("em", "ic")}
    more = {"variants": {"ic": 1}, "together": True}
    former = configs({"variants": {"em": 2}, "also": {"more": more}, "side_by_side": 2}, variants)
    more = {"variants": {"ic": 1}, "share_process": True}
    assert former == configs({"variants": {"em": 2}, "experiments": {"more": more}, "parallel_runs": 2}, variants)
    assert former.experiments["more"].data == former.data, "its sections are the preset's own"


def test_a_study_of_a_folders_pictures_counts_where_the_folder_has_some(configs, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    pictures = {"data": {"source": "local_images"}, "variants": {"vl_base": 1}}
    variants = {"em": {"label": "EM"}, "vl_base": {"label": "Base", "tasks": ["captioning"]}}
    assert configs({"data": {"source": "local"}, "experiments": {"captions": pictures}}, variants).experiments == {}
    (tmp_path / "text").mkdir()
    (tmp_path / "both" / "images").mkdir(parents=True)
    assert load_preset("test", tmp_path / "text").experiments == {}
    assert load_preset("test", tmp_path / "both").runs() == [("em", 0), ("vl_base", 0)]
    prepared = tmp_path / "runs" / "test" / "data-captions" / "manifest.json"
    prepared.parent.mkdir(parents=True)
    prepared.write_text("{}")
    assert list(load_preset("test").experiments) == ["captions"]


def test_settings_are_frozen(configs):
    with pytest.raises(ValidationError, match="frozen"):
        configs().name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        Variant(label="EM").label = "IC"
    assert Preset.model_config["extra"] == "forbid"


def test_the_settings_of_a_run_say_which_kind_of_data_it_learns_from(configs):
    variants = {"ic": {"label": "IC"}, "ic_labels": {"label": "IC", "supervision": "labels"}}
    preset = configs({"training": {"supervision": "pairs"}, "variants": {"ic": 1, "ic_labels": 1}}, variants)
    assert [resolve(preset, name, 0).variant.supervision for name in variants] == ["pairs", "labels"]


def test_a_run_made_under_a_former_name_is_the_run_of_today(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    now = paths.run_dir("cpu", "vl_moe_lora_task", 0)
    assert now == tmp_path / "cpu/vl_moe_lora_task/seed0"
    (tmp_path / "cpu/vl_moe_task/seed0").mkdir(parents=True)
    assert paths.run_dir("cpu", "vl_moe_lora_task", 0) == tmp_path / "cpu/vl_moe_task/seed0"
    now.mkdir(parents=True)
    assert paths.run_dir("cpu", "vl_moe_lora_task", 0) == now
    settings = resolve(load_preset("cpu"), "mote_cluster_route", 0).model_dump(mode="json")
    assert settings["variant"]["weights_of"] == "mote"
    former = settings | {"variant_name": "mote_topical"}
    former["variant"] = former["variant"] | {"weights_of": "vl_moe"}
    read = RunSettings.model_validate(former)
    assert (read.variant_name, read.variant.weights_of) == ("mote_cluster_route", "vl_moe_lora")


@pytest.mark.parametrize("preset", ["cpu", "local"])
def test_every_committed_run_is_of_a_variant_of_today(preset):
    runs = sorted((paths.ROOT / "reports/reference" / preset / "results").glob("*/seed*/config.yaml"))
    assert runs
    names = {RunSettings.model_validate(_settings(path)).variant_name for path in runs}
    assert names <= set(load_variants())


def _settings(path):
    content = yaml.safe_load(path.read_text())
    content.pop("data_sha256")
    return content
