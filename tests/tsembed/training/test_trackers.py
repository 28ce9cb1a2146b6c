"""Invariants of following a training with another package:

- an unknown one, or one that is not installed, is an error before the training;
- TensorBoard's numbers are those of metrics.jsonl, and a second training of the process writes its own.
"""

import json

import pytest

from tests.tiny import run_settings, train
from tests.training_pairs import EM, make, table
from tsembed.settings import Training
from tsembed.training import trackers


def run(tokenizer, folder, **more):
    training = Training(steps=4, batch_size=4, precision="fp32", max_query_tokens=16, max_document_tokens=16)
    chosen = run_settings(EM, training)
    return train(chosen, make(tokenizer), {"r": table()}, {"r": "retrieval"}, folder, **more)


def test_a_package_that_is_not_there_is_an_error_before_the_training(tokenizer, tmp_path, monkeypatch):
    from accelerate import tracking

    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(ValueError, match="log_with 'wandb' needs the package wandb, .*: pip install wandb"):
        run(tokenizer, tmp_path, log_with="wandb")
    with pytest.raises(ValueError, match="log_with 'paper' is unknown; known: tensorboard, trackio, wandb"):
        run(tokenizer, tmp_path, log_with="paper")
    assert not any(tmp_path.iterdir())


def test_tensorboard_has_the_numbers_of_the_log(tokenizer, tmp_path):
    events = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(events, reason="tensorboard is not installed").EventAccumulator

    for name in ("one", "two"):
        assert run(tokenizer, tmp_path / name, log_with="tensorboard")
        events = accumulator(str(tmp_path / name / trackers.FOLDER / trackers.PROJECT)).Reload()
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert len(rows) == 4
        for tag, key in (("loss", "loss"), ("loss/retrieval", "loss"), ("lr", "lr"), ("grad_norm", "grad_norm")):
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            assert found == [(row["step"], pytest.approx(row[key], rel=1e-6)) for row in rows]
