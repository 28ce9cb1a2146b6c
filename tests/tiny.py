"""Tiny random encoders of the six families, for tests."""

import torch


def tiny(model_type: str, layers: int = 2, vocabulary: int = 30522, *, head: bool = False, dropout: float = 0.0):
    """A random encoder of the family, in evaluation mode; `head`: with the pooling head that `AutoModel` gives it."""
    from transformers import AutoConfig, AutoModel

    from tsembed.mote.families import pooler_off

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": layers, "num_attention_heads": 2}
    if model_type == "distilbert":
        sizes = {"dim": 32, "hidden_dim": 64, "n_layers": layers, "n_heads": 2}
    if model_type in ("qwen2", "qwen3"):
        sizes |= {"num_key_value_heads": 2, "head_dim": 16}
    dropouts = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    config = AutoConfig.for_model(model_type, vocab_size=vocabulary, pad_token_id=0, **sizes)
    for key in dropouts:
        if hasattr(config, key):
            setattr(config, key, dropout)
    torch.manual_seed(0)
    return AutoModel.from_config(config, **({} if head else pooler_off(model_type))).eval()


FAMILIES = ("nomic_bert", "bert", "xlm-roberta", "mpnet", "distilbert", "modernbert", "qwen2", "qwen3")


def train(settings, encoder, tables, tasks, folder, **more) -> bool:
    """`training.loop.train` under the settings of a run."""
    from tsembed.training import loop

    chosen = {"training": settings.training, "variant": settings.variant, "seed": settings.seed}
    return loop.train(encoder, tables, tasks, folder, **chosen, **more)


def run_settings(variant, training, backbone=None):
    """The settings of a run with seed 0; what is not given stands for nothing that the tests look at."""
    from study.presets import Data, Evaluation, RunSettings
    from tsembed.settings import Backbone

    return RunSettings(
        preset="test",
        variant_name="v",
        seed=0,
        backbone=backbone or Backbone(name="tiny"),
        data=Data(source="embedded"),
        training=training,
        evaluation=Evaluation(),
        variant=variant,
    )
