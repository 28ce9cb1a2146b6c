"""Invariants of training an exported or up-cycled MoTE model with SentenceTransformerTrainer.

- The trainer takes an export with all experts: it constructs, trains, and saves what sentence-transformers loads.
- docs/sentence_transformers.md runs as it stands, in under thirty lines; only the experts of its data's tasks move.
"""

import re
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from tests.tiny import tiny
from tsembed.encoder.text import Encoder
from tsembed.export.folder import export_encoder
from tsembed.mote.checkpoint import expert_of
from tsembed.mote.experts import TaskRouted, upcycle
from tsembed.tasks import INSTRUCTIONS, ROUTES

PAGE = Path(__file__).parents[3] / "docs" / "sentence_transformers.md"


def moved(before, after):
    """Experts of which a weight differs, and whether a shared one does."""
    names = {name for name, tensor in after.items() if not torch.equal(before[name], tensor)}
    owners = {expert_of(name)[0] for name in names}
    return owners - {None}, None in owners


def test_the_trainer_takes_an_export_with_all_experts(tokenizer, tmp_path, code_cache):
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    encoder = Encoder(upcycle(tiny("bert"), ROUTES), tokenizer, instructions=dict(INSTRUCTIONS)).eval()
    export_encoder(encoder, tmp_path / "all")
    model = SentenceTransformer(str(tmp_path / "all"), trust_remote_code=True, device="cpu")
    before = {name: tensor.clone() for name, tensor in model[0].model.model.state_dict().items()}
    pairs = Dataset.from_dict({"anchor": ["one", "two", "three", "four"], "positive": ["1", "2", "3", "4"]})
    arguments = Arguments(
        tmp_path / "run",
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        prompts={"anchor": "search_query: ", "positive": "search_document: "},
    )
    trainer = SentenceTransformerTrainer(
        model, arguments, train_dataset=pairs, loss=MultipleNegativesRankingLoss(model)
    )
    trainer.train()
    assert moved(before, model[0].model.model.state_dict()) == ({"search_query", "search_document"}, True)
    model.save_pretrained(str(tmp_path / "trained"))
    again = SentenceTransformer(str(tmp_path / "trained"), trust_remote_code=True, device="cpu")
    assert (again.encode_query(["one"]) == model.encode_query(["one"])).all()


def test_the_page_trains_from_upcycle_to_a_folder_and_moves_the_experts_of_its_data_alone(
    tokenizer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tiny("bert").save_pretrained("backbone")
    tokenizer.save_pretrained("backbone")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    assert blocks[0].count("\n") < 30
    name = "sentence-transformers/all-MiniLM-L6-v2"
    fast = "max_steps=4, learning_rate=1e-2, use_cpu=True, disable_tqdm=True, report_to='none'"
    assert name in blocks[0]
    assert "num_train_epochs=1" in blocks[0]
    scope = {}
    for block in blocks:
        code = block.replace(name, "backbone").replace("num_train_epochs=1", fast)
        exec(compile(code, str(PAGE), "exec"), scope)
    start = upcycle(tiny("bert"), ROUTES).model.state_dict()
    trained = TaskRouted.from_pretrained("mote").model.state_dict()
    experts, shared = moved(start, trained)
    assert experts == {"clustering", "search_query", "search_document"}  # nothing of classification's
    assert shared
    encoder = Encoder(TaskRouted.from_pretrained("mote"), tokenizer, instructions=dict(INSTRUCTIONS))
    assert scope["query"] == pytest.approx(encoder.encode("What is BM25?", "search_query"), abs=1e-5)
    assert scope["title"] == pytest.approx(encoder.encode("Sorting a list", "clustering"), abs=1e-5)
    scales = {task: loss.scale for task, loss in scope["losses"].items()}
    assert scales == pytest.approx({"clustering": 1 / 0.06, "retrieval": 1 / 0.03})
