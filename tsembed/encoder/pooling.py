"""One vector of a sequence's last hidden states."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pool(
    hidden: Float[Tensor, "batch seq dim"], mask: Int[Tensor, "batch seq"], how: str
) -> Float[Tensor, "batch dim"]:
    """In fp32, whatever the hidden states have.

    Args:
        hidden: Of the tokens.
        mask: 1 for a token, 0 for padding, on either side.
        how: "mean" over the tokens of the mask, the first ("cls") or the "last" of them.
    """
    hidden = hidden.float()
    if how != "mean":
        places = torch.arange(mask.shape[1], device=mask.device)
        places = places.flip(0) if how == "cls" else places  # the largest is the first token's
        chosen = (places * mask).argmax(1)  # (batch,)
        return hidden[torch.arange(len(hidden), device=hidden.device), chosen]
    weights = mask.unsqueeze(-1).float()  # (batch, seq, 1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
