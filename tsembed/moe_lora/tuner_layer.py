"""What PEFT takes for a part of a MoE-LoRA adapter."""

from peft.tuners.tuners_utils import BaseTunerLayer


class MoeLoraLayer(BaseTunerLayer):
    """Base of the adapted linear layers and of the router that they share: PEFT saves, freezes and deletes both."""
