"""Properties of presets and variants under random change:

- whatever is done to the settings of a sound preset or variant, or to the text of its file, the preset loads and all of
  its runs resolve, or one error names the file; nothing else is raised. An error about settings names the key.

60 files are tried; a number in TSEMBED_PROPERTIES is another number of them.
"""

import copy
import os
from collections import Counter

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study import notebooks, paths
from study.presets import load_preset, resolve

ASKED = os.environ.get("TSEMBED_PROPERTIES", "")
EXAMPLES = int(ASKED) if ASKED.isdecimal() else 60
SOURCES = {
    path.relative_to(paths.CONFIGS).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("presets", "variants")
    for path in sorted((paths.CONFIGS / folder).glob("*.yaml"))
}
CONTENT = {name: yaml.safe_load(text) for name, text in SOURCES.items()}
ODD = [
    *(None, True, False, 0, -1, 1, 2**70, 0.5, -0.0, float("nan"), float("inf"), 1e-320),
    *("", " ", "em", "mote", "random:bert", "embedded:nothing", "../..", "\u200b", "x" * 5000),
    *([], {}, [1], ["em"], {"em": 1}, {"a": {"b": {"c": 1}}}, [[[]]], {1: 2}, {"search_query": "q"}),
]
RAW = [
    b"\xff",
    b"\t",
    b"- a\n",
    b"a: [",
    b"? [1]\n: 2\n",
    b"variants: {em: 1}\n",
    b"*a\n",
    b"!!python/name:os.system\n",
    b"\x00",
]


def places(content, prefix=()):
    """The paths of all keys and list places of nested settings."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


PLACES = {name: list(places(content)) for name, content in CONTENT.items()}


@st.composite
def changes(draw):
    """A file, and changes of it: ("set" | "delete" | "rename" | "add", path, value), or ("raw", place, bytes)."""
    name = draw(st.sampled_from(sorted(SOURCES)))
    path = st.sampled_from(PLACES[name])
    value = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=5)
    key = st.sampled_from(["seed", "data", "variants", "steps", "é", "", 3, "experts", "learning_rate"]) | st.text(
        max_size=3
    )
    change = (
        st.tuples(st.just("set"), path, value)
        | st.tuples(st.just("delete"), path, st.none())
        | st.tuples(st.just("rename"), path, key)
        | st.tuples(st.just("add"), path, st.tuples(key, value))
        | st.tuples(st.just("raw"), st.integers(0, len(SOURCES[name])), st.sampled_from(RAW))
    )
    return name, draw(st.lists(change, min_size=1, max_size=3))


def changed(name, done):
    """The bytes of the file after the changes."""
    content, raw = copy.deepcopy(CONTENT[name]), []
    for kind, path, value in done:
        if kind == "raw":
            raw.append((path, value))
            continue
        owner = content
        try:
            for key in path[:-1]:
                owner = owner[key]
            if kind == "set":
                owner[path[-1]] = value
            elif kind == "delete":
                del owner[path[-1]]
            elif kind == "rename":
                owner[value] = owner.pop(path[-1])
            else:
                owner[path[-1]][value[0]] = value[1]
        except (KeyError, IndexError, TypeError, AttributeError):  # an earlier change took the place away
            continue
    if not raw:
        return yaml.safe_dump(content, allow_unicode=True).encode(errors="surrogatepass")
    text = SOURCES[name].encode()
    for place, inserted in raw:
        text = text[:place] + inserted + text[place:]
    return text


def planned(preset):
    """What `plan` needs of a preset: every run's settings, and the notebooks."""
    for variant, seed in preset.runs():
        resolve(preset, variant, seed)
        preset.variants_of_node(preset.node_name(variant), seed)
    for name in preset.all_experiments:
        preset.experiment_with_same_data(name)
    notebooks.analyses_of(preset)


@pytest.mark.slow
def test_changed_settings_load_and_resolve_or_are_one_error_that_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CONFIGS", tmp_path)
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    ends: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(changes())
    def one(change):
        name, done = change
        file = tmp_path / name
        file.write_bytes(changed(name, done))
        fault = None
        try:
            planned(load_preset(file.stem if name.startswith("presets") else "smoke"))
        except ValueError as error:
            fault = str(error)
        file.write_text(SOURCES[name], encoding="utf-8")
        ends["loads" if fault is None else "refused"] += 1
        assert fault is None or fault.startswith(f"{tmp_path}/"), fault
        assert fault is None or "\n" not in fault, fault

    one()
    print(dict(ends))
    assert min(ends["refused"], ends["loads"]) > EXAMPLES / 20, ends
