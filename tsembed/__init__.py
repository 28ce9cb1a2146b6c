"""Task-specialised embedding models, reproducibly studied: MoTE (text) and TSEmbed (multimodal)."""

__version__ = "0.1.0"
