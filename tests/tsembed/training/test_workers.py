"""Invariants of batches that workers make.

- They are those of no worker, in every tensor and in all else, pictures included.
- A batch of hundreds of tensors is sent under the usual limit of 1,024 open files.
- The number of workers is a setting; a training does not depend on it.
"""

import os
import subprocess
import sys

import pytest
import torch
from datasets import Dataset

from tests.tiny import run_settings, train
from tests.tiny_images import image_encoder, mosaic
from tsembed.encoder.image_processing import Pictures
from tsembed.settings import Training, Variant
from tsembed.strict import check
from tsembed.training import workers
from tsembed.training.batches import StepBatches
from tsembed.training.sampler import TaskSampler
from tsembed.training.workers import load_batches, pack, unpack

PAIRS, STEPS = 64, 4
TASK = "image_classification"
VARIANT = Variant(label="x", tasks=(TASK,), temperature=0.02)


def training(**more):
    return Training(
        steps=STEPS, batch_size=PAIRS, max_query_tokens=48, max_document_tokens=48, precision="fp32", **more
    )


def table(rows=PAIRS):
    pictures = [mosaic(i, cells=(1 + i % 3, 2)) for i in range(rows)]
    texts = ["number " + "blue " * (i % 7) for i in range(rows)]
    columns = {"query": texts, "query_image": pictures, "document": texts[::-1], "document_image": pictures}
    return {"c": Dataset.from_dict(columns | {"group": range(rows)})}


def batches(chunk_size):
    sampler = TaskSampler({"c": (TASK, PAIRS)}, batch_size=PAIRS, steps=STEPS, tasks=(TASK,))
    chosen = training(grad_cache_chunk_size=chunk_size)
    return StepBatches(table(), {"c": TASK}, sampler, image_encoder(), training=chosen, variant=VARIANT)


def leaves(value):
    """The tensors and other values of nested batches, in order."""
    if isinstance(value, Pictures):
        value = list(vars(value).items())
    if isinstance(value, list | tuple):
        return [type(value), *(leaf for item in value for leaf in leaves(item))]
    return [value]


def equal(one, other):
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    assert any(isinstance(a, torch.Tensor) and a.dtype == torch.float32 for a, _ in pairs), "there must be pictures"
    return all(torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_packing_changes_nothing():
    (batch,) = batches(4)[0]
    packed = pack([batch])
    assert set(packed.values) == {torch.int64, torch.float32}
    assert all(tensor.is_shared() for tensor in packed.values.values())
    assert sum(isinstance(leaf, torch.Tensor) for leaf in leaves([batch])) > 50
    assert equal(unpack(packed), [batch])
    uneven = unpack(pack([torch.zeros(3), torch.zeros(5), torch.zeros(1)]))
    assert [tensor.data_ptr() % workers.ALIGNED for tensor in uneven] == [0, 0, 0]
    odd = [torch.arange(6).view(2, 3).t(), torch.tensor(7), torch.zeros(0, 4), "text", None, 1.5]
    assert [str(value) for value in unpack(pack(odd))] == [str(value) for value in odd]


def few_files():
    """Run by the test below in a process of its own: batches of two workers against those of none."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    torch.set_num_threads(1)
    steps = batches(1)
    sent = sum(isinstance(leaf, torch.Tensor) for leaf in leaves(steps[0]))
    assert sent > 600, sent  # each of them takes two files in its worker
    found = list(load_batches(steps, range(STEPS), 2))
    assert len(found) == STEPS
    assert all(equal(one, steps[number]) for number, one in enumerate(found))
    print(f"{sent} tensors in a batch, {len(os.listdir('/dev/fd'))} files open")


@pytest.mark.slow
def test_two_workers_give_the_batches_of_none_with_1024_open_files():
    code = "from tests.tsembed.training.test_workers import few_files; few_files()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "tensors in a batch" in done.stdout


def test_the_number_of_workers_is_a_setting(tmp_path, monkeypatch):
    asked, plain = [], workers.load_batches
    monkeypatch.setattr("tsembed.training.loop.load_batches", lambda *a: (asked.append(a[2]), plain(*a))[1])
    ends = []
    for number in (None, 1):
        chosen = run_settings(VARIANT, training(num_workers=number, learning_rate=1e-3))
        encoder = image_encoder()
        assert train(chosen, encoder, table(), {"c": TASK}, tmp_path / str(number))
        ends.append([p.detach().clone() for p in encoder.parameters()])
    assert asked == [0, 1]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    with pytest.raises(ValueError, match="num_workers: Input should be greater than or equal to 0"):
        check(Training, {"num_workers": -1}, "here")
