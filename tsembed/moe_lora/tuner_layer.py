"""What PEFT takes for a part of a MoE-LoRA adapter."""

from abc import abstractmethod

from peft.tuners.tuners_utils import BaseTunerLayer

from .config import MoeLoraConfig


class MoeLoraLayer(BaseTunerLayer):
    """Base of the adapted linear layers and of the router that they share: PEFT saves, freezes and deletes both."""

    settings: dict[str, MoeLoraConfig]  # of each adapter

    @abstractmethod
    def update_layer(self, adapter_name: str, config: MoeLoraConfig) -> None:
        """Add an adapter, with new weights, or give it new weights."""
