"""Invariants of the choice of a precision.

- "auto" is bf16 exactly where the processor has it, unless TSEMBED_PRECISION decides; anything else in it is an error.
"""

import pytest
import torch

from tsembed.encoder.precision import autocast, has_fast_bf16, mixed_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("in_hardware", [True, False])
def test_auto_follows_the_processor(in_hardware, monkeypatch):
    monkeypatch.delenv("TSEMBED_PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert has_fast_bf16(CPU) == in_hardware
    assert autocast(CPU, "auto")._enabled == in_hardware


@pytest.mark.parametrize("forced", ["bf16", "fp32"])
def test_the_environment_decides_what_auto_means_and_nothing_else(forced, monkeypatch):
    monkeypatch.setenv("TSEMBED_PRECISION", forced)
    bf16 = forced == "bf16"
    assert has_fast_bf16(CPU) == autocast(CPU, "auto")._enabled == bf16
    assert mixed_precision("auto") == ("bf16" if bf16 else "no")
    assert not autocast(CPU, "fp32")._enabled
    assert mixed_precision("bf16") == "bf16"


def test_another_word_in_the_environment_is_an_error(monkeypatch):
    monkeypatch.setenv("TSEMBED_PRECISION", "fp16")
    with pytest.raises(ValueError, match="TSEMBED_PRECISION=fp16 must be fp32 or bf16"):
        has_fast_bf16(CPU)
