"""Invariants of the batches of a run.

- Which pairs are each other's negatives follows from their labels, queries and documents, and from nothing else.
- An item without picture is the same as its text; a picture makes another item.
- Queries and documents are cut where the settings say, each side at its own limit, under its own route's instruction.
- What the model makes of a batch stands in the order of its pairs, however it was cut by length.
- A batch has the temperature of its task, or the one of the variant.
- Ranks share a micro-batch in order; no row is of two ranks.
- A worker gets no weights, and makes the same chunks as the process that started it.
"""

import pickle

import torch
from datasets import Dataset

from tests.tiny import tiny
from tsembed.contrastive.losses import negatives_of
from tsembed.encoder.text import Encoder
from tsembed.inputs import Input
from tsembed.settings import Training, Variant
from tsembed.tasks import INSTRUCTIONS, TASKS
from tsembed.training.batches import StepBatches, groups_of, without_weights
from tsembed.training.objective import PairEncoder
from tsembed.training.sampler import TaskSampler

ROWS = [
    # query, document, group, and the rows whose documents are no negatives of the query
    ("fjord", "a sea inlet", 1, {0, 1, 2, 3, 6}),
    ("fjord", "cliffs on both sides", 2, {0, 1, 2}),  # the same query as row 0
    ("inlet", "fjord", 3, {2}),  # its document is the query of rows 0 and 1
    ("a bay", "a sea inlet", 4, {0, 3}),  # the same document as row 0
    ("grove", "some trees", 5, {4, 5}),
    ("copse", "a thicket", 5, {4, 5}),  # the same label as row 4
    ("delta", "a river's mouth", 1, {0, 6}),  # the same label as row 0
]


def batches(tokenizer, backbone=None, rows=ROWS, limits=(8, 8), instructions=None, micro=None, ranks=(0, 1), **variant):
    query, document, group, *_ = zip(*rows, strict=True)
    table = Dataset.from_dict({"query": query, "document": document, "group": group})
    sampler = TaskSampler({"r": ("retrieval", len(rows))}, batch_size=len(rows), steps=1, tasks=("retrieval",))
    training = Training(
        batch_size=len(rows), micro_batch_size=micro, max_query_tokens=limits[0], max_document_tokens=limits[1]
    )
    encoder = Encoder(backbone or tiny("bert"), tokenizer, instructions=instructions)
    variant = Variant(label="EM", **variant)
    shared = {"training": training, "variant": variant, "rank": ranks[0], "world_size": ranks[1]}
    return StepBatches({"r": table}, {"r": "retrieval"}, sampler, encoder, **shared)


def test_pairs_of_one_label_query_or_document_and_the_query_itself_are_no_negatives(tokenizer):
    steps = batches(tokenizer)
    (batch,) = steps[0]
    order = steps.sampler[0].rows.tolist()
    assert sorted(order) == list(range(len(ROWS)))
    expected = [[column not in ROWS[row][3] for column in order] for row in order]
    assert negatives_of(batch.query_groups, batch.document_groups).tolist() == expected


def test_an_item_without_picture_is_its_text_and_a_picture_makes_another():
    queries = ["red", Input("red"), Input("red", b"one"), Input("red", b"two"), Input("red", b"one")]
    negatives = negatives_of(*groups_of(queries, list("abcde"), [1, 2, 3, 4, 5]))
    assert negatives.int().tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [1, 1, 0, 1, 0],
        [1, 1, 1, 0, 1],
        [1, 1, 0, 1, 0],
    ]


def test_texts_that_differ_in_unicode_form_or_invisible_characters_alone_are_no_negatives():
    queries = ["caf\u00e9", "cafe\u0301", "\u200bca\u00adf\u00e9", "Caf\u00e9"]
    negatives = negatives_of(*groups_of(queries, list("abcd"), [1, 2, 3, 4]))
    assert negatives.int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 0]]


def test_each_side_is_cut_at_its_own_limit_under_its_own_instruction(tokenizer):
    rows = [(f"fjord {i} " * 20, f"inlet {i} " * 20, i) for i in range(4)]
    (batch,) = batches(tokenizer, rows=rows, limits=(8, 11), instructions=dict(INSTRUCTIONS))[0]
    (chunk,) = batch.chunks
    for parts, limit, route in ((chunk.queries, 8, "search_query"), (chunk.documents, 11, "search_document")):
        (part,) = parts
        assert part.input_ids.shape == (4, limit)
        assert part.routes == route
        assert tokenizer.decode(part.input_ids[0], skip_special_tokens=True).startswith(route.partition("_")[0])
        assert tokenizer.decode(part.input_ids[0]).split()[3] == route.partition("_")[2]
    assert batch.tokens == 4 * (8 + 11)


def test_both_sides_come_back_in_the_order_of_the_pairs(tokenizer):
    rows = [("fjord " * (i % 4 + 1) + str(i), "inlet " * (5 * i % 7 + 1) + str(i), i) for i in range(8)]
    backbone = tiny("bert")
    steps = batches(tokenizer, backbone, rows=rows, limits=(16, 16))
    (chunk,) = steps[0][0].chunks
    encoder = Encoder(backbone, tokenizer).eval()
    outputs = PairEncoder(encoder, steps.variant)(chunk)
    for column, (side, route) in enumerate((("query", "search_query"), ("document", "search_document"))):
        texts = [rows[i][column] for i in steps.sampler[0].rows]
        torch.testing.assert_close(outputs[side], torch.from_numpy(encoder.encode(texts, route)), atol=1e-5, rtol=0)


def test_the_temperature_is_the_tasks_or_the_variants(tokenizer):
    found = [batches(tokenizer, **more)[0][0].temperature for more in ({}, {"temperature": 0.07})]
    assert found == [TASKS["retrieval"].temperature, 0.07] == [0.03, 0.07]


def test_ranks_share_the_rows_of_every_micro_batch_in_order(tokenizer):
    rows = [(f"query {i}", f"document {i}", i) for i in range(8)]
    steps = [batches(tokenizer, rows=rows, micro=4, ranks=(rank, 2)) for rank in (0, 1)]
    order = steps[0].sampler[0].rows.tolist()
    found = [[batch.query_groups[:, 0].tolist() for batch in of_rank[0]] for of_rank in steps]
    assert found == [[order[0:2], order[4:6]], [order[2:4], order[6:8]]]


class Unpicklable(torch.nn.Linear):
    """Weights that refuse to leave the process."""

    def __reduce_ex__(self, protocol):
        raise AssertionError("the backbone was pickled")


def test_a_worker_gets_no_weights_and_makes_the_same_chunks(tokenizer):
    backbone = Unpicklable(2, 2)
    steps = batches(tokenizer, backbone)
    (batch,) = steps[0]
    (copied,) = pickle.loads(pickle.dumps(steps))[0]
    assert torch.equal(copied.query_groups, batch.query_groups)
    assert copied.tokens == batch.tokens > 0
    for chunk, expected in zip(copied.chunks[0].queries, batch.chunks[0].queries, strict=True):
        assert torch.equal(chunk.input_ids, expected.input_ids)


def test_the_encoder_itself_keeps_its_weights(tokenizer):
    encoder = Encoder(tiny("bert"), tokenizer)
    assert not list(without_weights(encoder).parameters())
    assert len(list(encoder.parameters())) > 10
