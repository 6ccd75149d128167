"""Against peft: adapters both ways, and the gradients of their parameters. (Extra "parity"; skipped without it.)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.reference import check_same, peft, reference, reference_logits, torch
from tests.models.zoo import CONFIGS, LINEAR, adapters, random_peft, texts
from theory_lab import models

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

MODELS = ("opt", "opt-350m", "opt, untied, gelu, plain norms", "llama", "llama, grouped, linear")
KINDS = ("lora", "lora, stabilised, many targets", "prefix", "prompt")
pairs = pytest.mark.parametrize("name, kind", [(name, kind) for name in MODELS for kind in KINDS])


def theirs_of(kind: str, config: models.Config) -> "peft.PeftConfig":
    """The same adapter, by peft."""
    virtual = {"task_type": "CAUSAL_LM"}
    if kind == "prefix":
        return peft.PrefixTuningConfig(num_virtual_tokens=3, **virtual)
    if kind == "prompt":
        return peft.PromptTuningConfig(num_virtual_tokens=4, token_dim=config.embedding_size, **virtual)
    if kind == "lora":
        return peft.LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj"], **virtual)
    targets = list(LINEAR[config.model_type])
    return peft.LoraConfig(r=2, lora_alpha=5, target_modules=targets, use_rslora=True, **virtual)


def both(name: str, tmp_path) -> tuple:
    config = CONFIGS[name]
    theirs = reference(config)
    theirs.save_pretrained(tmp_path / "base")
    return config, theirs, models.load_pretrained(tmp_path / "base").base


def handed_over(adapted: "peft.PeftModel", config: models.Config, tmp_path) -> models.LoadedAdapter:
    """Random parameters there, and the same here."""
    with torch.no_grad():
        for p in adapted.parameters():
            if p.requires_grad:
                p.copy_(torch.randn_like(p) * 0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    return models.load_adapter(tmp_path / "adapter", config)


@pairs
def test_an_adapter_of_peft_gives_its_logits(name, kind, tmp_path):
    config, theirs, base = both(name, tmp_path)
    adapted = peft.get_peft_model(theirs, theirs_of(kind, config)).eval()
    adapter, parameters = handed_over(adapted, config, tmp_path)
    assert adapter == adapters(config)[kind]
    for side in ("right", "left"):
        tokens, mask = texts(side)
        ours = models.logits(config, {"base": base, "peft": parameters}, jnp.asarray(tokens), jnp.asarray(mask), adapter)
        check_same(ours, reference_logits(adapted, tokens, mask), mask)


LORA = {"task_type": "CAUSAL_LM", "r": 3, "lora_alpha": 7}
WRITTEN = {
    "default targets": lambda: peft.LoraConfig(**LORA),
    "all-linear": lambda: peft.LoraConfig(**LORA, target_modules="all-linear"),
    "pattern": lambda: peft.LoraConfig(**LORA, target_modules=r".*layers\.\d+\.self_attn\.(q|k)_proj", lora_dropout=0.5),
    "gaussian": lambda: peft.LoraConfig(**LORA, target_modules=["v_proj"], init_lora_weights="gaussian"),
    "all layers, patterns that match nothing": lambda: peft.LoraConfig(
        **LORA, layers_to_transform=[0, 1, 2], layers_pattern="layers", rank_pattern={"fc9": 2}, alpha_pattern={r"k_pro": 2}
    ),
    "patterns that match all": lambda: peft.LoraConfig(
        **LORA, rank_pattern={r".*(q|v)_proj": 2, "v_proj": 4}, alpha_pattern={"self_attn.[qv]_proj": 5}
    ),
    "excluded": lambda: peft.LoraConfig(
        **LORA, target_modules=["q_proj", "k_proj", "v_proj", "lm_head"], exclude_modules=["k_proj", "lm_head"]
    ),
    "excluded by a pattern": lambda: peft.LoraConfig(
        **LORA, target_modules="all-linear", exclude_modules=r".*(fc|mlp|out|k_proj).*", fan_in_fan_out=True
    ),
    "projected prefix": lambda: peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=8
    ),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", ["opt", "llama, grouped, linear"])
def test_what_peft_writes_otherwise_is_read_as_peft_reads_it(name, written, tmp_path):
    config, theirs, base = both(name, tmp_path)
    adapter, parameters = handed_over(peft.get_peft_model(theirs, WRITTEN[written]()), config, tmp_path)
    again = peft.PeftModel.from_pretrained(reference(config), tmp_path / "adapter").eval()
    tokens, mask = texts()
    ours = models.logits(config, {"base": base, "peft": parameters}, jnp.asarray(tokens), jnp.asarray(mask), adapter)
    check_same(ours, reference_logits(again, tokens, mask), mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora in adapter_config.json must be False"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern in adapter_config.json must be {} or the same for all modules"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern in adapter_config.json must be {} or the same for all modules"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save in adapter_config.json must be None"),
        ({"bias": "all"}, "bias in adapter_config.json must be 'none'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights in adapter_config.json must be True"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "tensor 'base_model.* must be one of this LORA adapter"),
        ({"layers_to_transform": [0]}, "layers_to_transform in adapter_config.json must be all 3 layers, or left out"),
    ],
)
def test_what_peft_writes_and_is_not_built_here_is_refused_by_name(change, message, tmp_path):
    config, theirs, _ = both("llama", tmp_path)
    settings = {**LORA, "target_modules": ["q_proj", "v_proj"], **change}
    with pytest.raises(ValueError, match=message):
        handed_over(peft.get_peft_model(theirs, peft.LoraConfig(**settings)), config, tmp_path)


@pairs
def test_peft_loads_what_we_save(name, kind, tmp_path):
    config, theirs, base = both(name, tmp_path)
    adapter, (tokens, mask) = adapters(config)[kind], texts()
    parameters = random_peft(adapter, config)
    models.save_adapter(tmp_path / "adapter", config, adapter, parameters, base_name=str(tmp_path / "base"))
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    ours = models.logits(config, {"base": base, "peft": parameters}, jnp.asarray(tokens), jnp.asarray(mask), adapter)
    check_same(ours, reference_logits(adapted, tokens, mask), mask)
    plain = reference_logits(reference(config), tokens, mask)
    with pytest.raises(AssertionError):
        check_same(ours, plain, mask)  # the adapter matters


@pytest.mark.parametrize("name", ["opt", "llama, grouped, linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_parameters(name, kind, tmp_path):
    config, theirs, base = both(name, tmp_path)
    adapted, (tokens, mask) = peft.get_peft_model(theirs, theirs_of(kind, config)).eval(), texts()
    adapter, parameters = handed_over(adapted, config, tmp_path)
    labels = torch.tensor(np.where(mask, tokens, -100))
    labels[:, 0] = -100  # we never learn the first token; they do, after a prompt
    loss = adapted(input_ids=torch.tensor(tokens), attention_mask=torch.tensor(mask), labels=labels).loss
    loss.backward()

    def ours(part):
        params = {"base": base, "peft": part}
        return models.mean_loss(config, params, jnp.asarray(tokens), jnp.asarray(mask), jnp.asarray(mask), adapter)

    value, gradient = jax.value_and_grad(ours)(parameters)
    assert float(value) == pytest.approx(loss.item(), rel=1e-5)
    expected = {n: p.grad for n, p in adapted.named_parameters() if p.grad is not None}
    if kind.startswith("lora"):
        found = 0
        for module, pair in gradient.items():
            for which, array in pair.items():
                for layer in range(config.num_hidden_layers):
                    name = f"{models.module_name(config, module, layer)}.{which}.default.weight"
                    match = [g for n, g in expected.items() if n.endswith(name)]
                    assert len(match) == 1
                    close(array[layer], match[0])
                    found += 1
        assert found == len(expected)
        return None
    (embeddings,) = expected.values()
    if kind == "prompt":
        return close(gradient["prompt_embeddings"], embeddings)
    stacked = jnp.stack([gradient["key"], gradient["value"]], axis=1)  # (L, 2, P, K, H)
    return close(jnp.moveaxis(stacked, 2, 0).reshape(adapter.virtual_tokens, -1), embeddings)


def close(ours, theirs) -> None:
    theirs = theirs.numpy()
    size = np.abs(theirs).max()
    assert size > 0
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-4 * size, rtol=0)
