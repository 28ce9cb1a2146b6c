"""Invariants of the probe of the negatives' weights.

- Relations part the negatives: own set, other sets of the task, other tasks; the mean weight of all is 1.
- Where each set has an expert of its own, EANS stresses the query's own set alone, by as much as its sharpness says;
  in batches of one set it then weighs all negatives alike.
- Beside weights by routing stand those by embedding, which correlate with the embeddings' cosine.
"""

import math

import pytest

from study.probes.negative_weights import ALL, OTHER_TASK, SAME_SET, SAME_TASK, negative_weights_by_relation
from tests.study.probes.three_sets import TASKS, encoder_of, tables, train_a_little
from tests.tiny import run_settings
from tests.tiny_images import BACKBONE
from tsembed.settings import Adapter, Negatives, Training, Variant
from tsembed.tasks import IMAGE_TASKS

BETA = 2.0


def measured(base, *, batching, **variant):
    chosen = Variant(
        label="V",
        starts_from="base",
        tasks=(IMAGE_TASKS[0], IMAGE_TASKS[3]),
        batching=batching,
        temperature=0.05 if batching == "mixed" else "task_aware",
        negatives=Negatives(beta=BETA, first_stage=0.5),
        **variant,
    )
    training = Training(steps=6, batch_size=8, precision="fp32", max_query_tokens=48, max_document_tokens=48)
    settings = run_settings(chosen, training, BACKBONE)
    encoder = encoder_of(base, variant["adapter"], **{k: v for k, v in variant.items() if k != "adapter"})
    train_a_little(encoder)
    found = negative_weights_by_relation(encoder, tables(), TASKS, settings, batches=4)
    return found.set_index(["by", "relation"])


def test_experts_by_set_stress_the_querys_own_set_alone(base):
    adapter = Adapter(r=4, router="task", shared_experts=1)
    by_set = {"experts": {name: name.upper() for name in TASKS}, "routed_by": "set"}
    found = measured(base, batching="mixed", adapter=adapter, **by_set)
    for form in ("query", "positive"):
        rows = found.loc[form]
        assert rows.weight[ALL] == pytest.approx(1.0)
        assert rows.share[[SAME_SET, SAME_TASK, OTHER_TASK]].sum() == pytest.approx(1.0)
        assert rows.weight[SAME_SET] > 1 > rows.weight[SAME_TASK]
        assert rows.low[SAME_SET] / rows.high[OTHER_TASK] > 1
    one_task = measured(base, batching="homogeneous", adapter=adapter, **by_set)
    weights = one_task.loc["query"]
    assert set(weights.index) == {ALL, SAME_SET}
    assert weights.weight[SAME_SET] == pytest.approx(1.0)
    assert weights.deviation[SAME_SET] == pytest.approx(0.0, abs=1e-6)
    assert math.isnan(weights.correlation[ALL])


def test_weights_by_embedding_stand_beside_those_by_routing(base):
    found = measured(base, batching="mixed", adapter=Adapter(r=4))
    assert found.weight.xs(ALL, level="relation").to_numpy() == pytest.approx(1.0)
    assert found.correlation["embedding", ALL] > 0.5
    assert found.correlation["embedding", ALL] > found.correlation["query", ALL]
    assert (found.deviation > 0).all()
