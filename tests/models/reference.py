"""The same models by transformers and peft, with random weights; tests that need them import this module."""

import jax
import numpy as np
import pytest

from theory_lab.models import Config, config_to_json

torch = pytest.importorskip("torch", reason="the extra 'parity' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'parity' is not installed")
peft = pytest.importorskip("peft", reason="the extra 'parity' is not installed")


def reference(config: Config, seed: int = 0) -> "transformers.PreTrainedModel":
    """A random model of that config; all its arrays are random, norms and biases too."""
    stored = config_to_json(config)
    kind = {"opt": transformers.OPTConfig, "llama": transformers.LlamaConfig}[config.model_type]
    built = {"opt": transformers.OPTForCausalLM, "llama": transformers.LlamaForCausalLM}[config.model_type]
    drop = ("architectures", "model_type", *(k for k in ("rope_scaling",) if stored.get(k) is None))
    made = kind(**{k: v for k, v in stored.items() if k not in drop}, dropout=0.0, attention_dropout=0.0)
    return filled(built(made), seed)


def filled(model: "transformers.PreTrainedModel", seed: int) -> "transformers.PreTrainedModel":
    """That model, all its arrays random."""
    torch.manual_seed(seed)
    model = model.float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.15 + (1 if "norm" in name and name.endswith("weight") else 0))
    return model


def reference_logits(model: "torch.nn.Module", tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        given = {"input_ids": torch.tensor(tokens), "attention_mask": torch.tensor(mask)}
        return model(**given, use_cache=False if not hasattr(model, "peft_config") else None).logits.numpy()[
            :, -tokens.shape[1] :
        ]


def check_same(ours: jax.Array, theirs: np.ndarray, mask: np.ndarray) -> None:
    """Logits agree to 1e-4 of their size wherever there is a token."""
    kept = mask.astype(bool)
    size = np.abs(theirs[kept]).max()
    assert size > 0.3
    np.testing.assert_allclose(np.asarray(ours)[kept], theirs[kept], atol=1e-4 * size, rtol=0)
