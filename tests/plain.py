"""Formulas in their plain form, against which the faster ones are tested."""

import torch
from torch import Tensor


def load_balancing(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """num_experts * sum_e f_e P_e over tokens: probabilities (tokens, experts), chosen (tokens, top_k)."""
    experts = probabilities.shape[1]
    shares = torch.bincount(chosen.flatten(), minlength=experts).float() / chosen.numel()  # (experts,)
    return experts * (shares * probabilities.float().mean(0)).sum()
