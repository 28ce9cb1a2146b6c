"""The device that a test computes on: always the CPU, and a GPU where there is one (`pytest -m gpu` runs these alone).

Both run the same body, so what it expects is known to be right before anybody has a GPU.
"""

import os
from contextlib import contextmanager

import pytest
import torch

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
def device(request):
    """A device, which a training in this process takes too."""
    with training_on(request.param):
        yield torch.device(request.param)


@contextmanager
def training_on(device):
    """Within it Accelerate takes this device; afterwards it stands as before."""
    from accelerate import PartialState
    from accelerate.state import AcceleratorState, GradientState

    states = [state._shared_state for state in (PartialState, AcceleratorState, GradientState)]
    before = [dict(state) for state in states]
    for state in states:
        state.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "ACCELERATE_TORCH_DEVICE", device)
        try:
            yield
        finally:
            for state, content in zip(states, before, strict=True):
                state.clear()
                state.update(content)
