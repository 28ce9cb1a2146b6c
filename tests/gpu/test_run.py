"""Invariants of a whole run on a device: trained, saved, scored and probed there, with scores near those of the CPU."""

import json

import pytest

from study import paths
from study.presets import load_preset, resolve
from study.runs import run
from tests.gpu.conftest import training_on
from tests.gpu.test_training import Linears
from tests.study.runs.test_run import prepared  # noqa: F401  a fixture


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mote", "ic"])
def test_a_run_is_on_the_device_from_its_first_step_to_its_last_probe(variant, device, prepared, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(paths, "CONFIGS", prepared / "configs")
    settings = resolve(load_preset("test"), variant, 0)
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"steps": 12})})

    def scores(folder):
        run.run(settings, folder, data=prepared / "runs" / "test" / "data")
        assert (folder / "done.json").is_file()
        assert (folder / "similarity.csv").is_file()
        return {row["dataset"]: row["score"] for row in json.loads((folder / "scores.json").read_text())}

    with Linears() as linears:
        found = scores(tmp_path / "here")
    assert linears.devices == {device.type}
    with training_on("cpu"):
        expected = scores(tmp_path / "cpu")
    assert found == pytest.approx(expected, abs=0.01 if device.type == "cpu" else 10)  # a score of 32 texts jumps
