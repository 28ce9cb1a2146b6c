"""Invariants of the gathers.

- All ranks' rows in rank order, also where they do not lie in memory row by row; nothing happens without ranks.
- A row's gradient is the sum over all ranks' losses, so with the mean that DDP takes there is no world-size factor.
- A warning in a spawned rank is an error of the test.
"""

import warnings

import pytest
import torch

from tests.ranks import run_ranks
from tsembed.contrastive.gather import gather, gather_with_grad


def test_without_ranks_the_rows_come_back():
    rows = torch.ones(2, 3)
    assert gather(rows) is rows
    assert gather_with_grad(rows) == (rows, 0)


def _gathered(rank):
    rows = (torch.arange(6.0).view(3, 2) + 10 * rank).T.requires_grad_()  # (2, 3), its columns lie one by one
    expected = torch.cat([(torch.arange(6.0).view(3, 2) + 10 * other).T for other in (0, 1)])
    gathered, first = gather_with_grad(rows)
    assert first == 2 * rank
    assert torch.equal(gathered, expected)
    assert torch.equal(gather(rows.detach()), expected)
    # Rank r weighs row i of the four by (r + 1) * 10 ** i; so both ranks' losses together weigh it by 3 * 10 ** i.
    weights = (rank + 1) * 10.0 ** torch.arange(4)
    (gradient,) = torch.autograd.grad((gathered.sum(1) * weights).sum(), rows)
    assert torch.equal(gradient, (3 * 10.0 ** torch.arange(4))[first : first + 2, None].expand(2, 3))


@pytest.mark.slow
def test_two_ranks_gather_in_order_and_add_up_their_gradients():
    run_ranks(_gathered, 2)


def _warns(rank):
    if rank == 1:
        warnings.warn("made on purpose", FutureWarning, stacklevel=1)


@pytest.mark.slow
def test_a_warning_of_a_spawned_rank_is_an_error():
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="FutureWarning: made on purpose"):
        run_ranks(_warns, 2)
