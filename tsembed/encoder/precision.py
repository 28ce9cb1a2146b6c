"""fp32 or bf16: which of them a processor does fast, and autocast.

The environment variable TSEMBED_PRECISION ("fp32" or "bf16") decides what "auto" means, whatever the processor: a study
then has the same numbers on every machine, and a test sees both paths on one.
"""

import os

import torch


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bf16 matrices in hardware; elsewhere bf16 is many times slower than fp32.

    Raises:
        ValueError: If TSEMBED_PRECISION is neither "fp32" nor "bf16".
    """
    if forced := os.environ.get("TSEMBED_PRECISION"):
        if forced not in ("fp32", "bf16"):
            raise ValueError(f"TSEMBED_PRECISION={forced} must be fp32 or bf16")
        return forced == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast to bf16 where `precision` ("fp32", "bf16", "auto") and the processor say so."""
    if precision not in ("fp32", "bf16", "auto"):
        raise ValueError(f"precision must be 'fp32', 'bf16' or 'auto', got {precision!r}")
    enabled = precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def mixed_precision(precision: str) -> str:
    """The same as Accelerate calls it, on the device that it would take."""
    if precision == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return "bf16" if has_fast_bf16(device) else "no"
    return "bf16" if precision == "bf16" else "no"
