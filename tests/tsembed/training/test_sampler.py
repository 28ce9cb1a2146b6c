"""Invariants of the sampler.

- A batch is a pure function of seed and step. Within an epoch no row is drawn twice; epochs have new orders.
- task_aware: one task per batch, retrieval from one dataset, the others mixed. homogeneous: one dataset. heterogeneous:
  all tasks in every batch. mixed: the pairs of task-aware batches, dealt anew over as many steps as there are tasks.
- A model of one task sees exactly the batches of this task in the order of the model of all tasks.
- Other data, seed or batch size is another identity.
"""

import numpy as np
import pytest

from tsembed.training.sampler import TaskSampler

DATASETS = {
    "c1": ("classification", 70),
    "c2": ("classification", 50),
    "k1": ("clustering", 80),
    "r1": ("retrieval", 60),
    "r2": ("retrieval", 40),
}


def sampler(**changes):
    return TaskSampler(DATASETS, **{"batch_size": 8, "steps": 60, "seed": 3} | changes)


def rows(step):
    return [(step.datasets[o], int(r)) for o, r in zip(step.owners, step.rows, strict=True)]


def test_a_batch_depends_on_seed_and_step_alone():
    a, b = sampler(), sampler()
    late = [rows(a[i]) for i in range(60)][41]
    assert rows(b[41]) == late
    assert len(late) == 8
    assert rows(sampler(seed=4)[41]) != late


def test_the_seed_reaches_the_rows_of_a_single_dataset():
    alone = {"batch_size": 8, "steps": 10, "tasks": ("clustering",)}
    found = [rows(TaskSampler({"k1": ("clustering", 80)}, **alone, seed=seed)[0]) for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2], "the order of tasks, which has a seed too, is the same"


def test_task_aware_batches_have_one_task_and_retrieval_one_dataset():
    steps = [sampler()[i] for i in range(60)]
    assert {s.task for s in steps} == {"classification", "clustering", "retrieval"}
    assert [sum(s.task == t for s in steps) for t in ("classification", "clustering", "retrieval")] == [20, 20, 20]
    for s in steps:
        assert {DATASETS[name][0] for name, _ in rows(s)} == {s.task}
        if s.task == "retrieval":
            assert {name for name, _ in rows(s)} == {s.dataset}
    assert any(len({name for name, _ in rows(s)}) == 2 for s in steps if s.task == "classification")


def test_homogeneous_batches_have_one_dataset():
    seen = [{name for name, _ in rows(sampler(batching="homogeneous")[i])} for i in range(60)]
    assert all(len(names) == 1 for names in seen)
    assert set.union(*seen) == set(DATASETS)


@pytest.mark.parametrize("sampling", ["balanced", "proportional"])
def test_heterogeneous_batches_mix_all_tasks(sampling):
    s = sampler(batching="heterogeneous", sampling=sampling)
    for i in range(60):
        assert len(rows(s[i])) == len(set(rows(s[i]))) == 8
    counts = [sum(DATASETS[n][0] == "retrieval" for i in range(60) for n, _ in rows(s[i]))]
    assert 120 < counts[0] < 210
    if sampling == "balanced":
        assert all(2 <= sum(DATASETS[n][0] == "retrieval" for n, _ in rows(s[i])) <= 3 for i in range(60))


@pytest.mark.parametrize("steps", [60, 61])
def test_mixed_batches_are_the_pairs_of_task_aware_ones_dealt_anew(steps):
    plain, mixed = sampler(steps=steps), sampler(steps=steps, batching="mixed")
    for first in range(0, steps, 3):
        block = range(first, min(first + 3, steps))
        expected, found = ([row for i in block for row in rows(s[i])] for s in (plain, mixed))
        assert sorted(found) == sorted(expected)
        assert found != expected
    assert {(len(mixed[i].rows), mixed[i].task, mixed[i].dataset) for i in range(60)} == {(8, "mixed", "mixed")}
    tasks = [{DATASETS[name][0] for name, _ in rows(mixed[i])} for i in range(60)]
    assert sum(len(each) == 3 for each in tasks) > 40
    assert rows(sampler(batching="mixed")[41]) == rows(mixed[41])
    assert mixed.state_dict() != plain.state_dict()


def test_no_row_comes_twice_in_an_epoch_and_the_next_epoch_has_another_order():
    s = sampler(steps=None)
    assert len(s) == 120 // 8 + 80 // 8 + 60 // 8 + 40 // 8
    seen = [row for i in range(len(s)) for row in rows(s[i])]
    assert len(seen) == len(set(seen))
    long = sampler(steps=90)
    clustering = [rows(long[i]) for i in range(90) if long[i].task == "clustering"]
    first, second = sum(clustering[:10], []), sum(clustering[10:20], [])
    assert first != second
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 80


@pytest.mark.parametrize("task", ["classification", "clustering", "retrieval"])
def test_one_task_alone_sees_the_same_batches_in_the_same_order(task):
    whole, alone = sampler(), sampler(tasks=(task,))
    expected = [rows(whole[i]) for i in range(60) if whole[i].task == task]
    assert [rows(alone[i]) for i in range(len(alone))] == expected
    assert len(alone) == 20


def test_proportional_sampling_follows_the_sizes():
    s = sampler(sampling="proportional", steps=3000)
    shares = np.bincount([["classification", "clustering", "retrieval"].index(s[i].task) for i in range(3000)]) / 3000
    np.testing.assert_allclose(shares, [0.4, 80 / 300, 100 / 300], atol=0.03)


def test_identity_changes_with_data_seed_and_batch():
    identities = [
        str(TaskSampler(data, batch_size=b, steps=60, seed=s).state_dict())
        for data, b, s in [
            (DATASETS, 8, 3),
            (DATASETS, 8, 4),
            (DATASETS, 4, 3),
            (DATASETS | {"r2": ("retrieval", 41)}, 8, 3),
        ]
    ]
    assert len(set(identities)) == 4


def test_impossible_mixtures_are_named():
    with pytest.raises(ValueError, match="r1: 60 training rows do not fill a batch of 64"):
        TaskSampler(DATASETS, batch_size=64, steps=3)
    with pytest.raises(ValueError, match=r"no training dataset for task \['clustering'\]"):
        TaskSampler({"r1": ("retrieval", 60)}, batch_size=8, steps=3, tasks=("clustering",))
    with pytest.raises(ValueError, match="another batching"):
        sampler(batching="heterogeneous", tasks=("clustering",))
