"""The doors of the language models: configurations, layers, adapters, steps, files, tokens."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.doors.refusals import A_KEY, KEY, LABELS, NAN, cases, check_refusal
from tests.models.zoo import CONFIGS, random_peft
from theory_lab import models
from theory_lab.models import LlamaConfig, OPTConfig, Rope, config_from_json
from theory_lab.oracles import TwoPoint

OPT = CONFIGS["opt"]
BASE = models.init_base(KEY, OPT)
LORA = models.lora()
PEFT = random_peft(LORA, OPT)
TOKENS = jnp.ones((2, 3), jnp.int32)
LOSS = lambda params, batch: jnp.float32(0)
HOW = models.differences(1e-3)
logits = partial(models.logits, OPT, {"base": BASE})
opt, llama = {"model_type": "opt"}, {"model_type": "llama"}
yarn = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1024}
ROPES = "'default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope'"
PARAMS = "{'base': ...} or {'base': ..., 'peft': ...}"
LINEAR = "'q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2'"

DOORS = {
    "config": [
        (lambda: OPTConfig(vocab_size=0), "vocab_size must be a whole number of at least 1, got 0"),
        (lambda: OPTConfig(hidden_size=10), "num_attention_heads must be a divisor of hidden_size 10, got 12"),
        (lambda: OPTConfig(enable_bias=1), "enable_bias must be True or False, got 1"),
        (lambda: OPTConfig(final_layer_norm="no"), "final_layer_norm must be True or False, got 'no'"),
        (lambda: OPTConfig(word_embed_proj_dim=""), "word_embed_proj_dim must be a whole number of at least 0, got ''"),
        (lambda: LlamaConfig(num_key_value_heads=[]), "num_key_value_heads must be a whole number of at least 0, got []"),
        (lambda: LlamaConfig(head_dim=""), "head_dim must be a whole number of at least 0, got ''"),
        (lambda: LlamaConfig(rope=None), "rope must be a Rope, got None"),
        (lambda: OPTConfig(pad_token_id=1.5), "pad_token_id must be a whole number of at least -1, got 1.5"),
        (
            lambda: LlamaConfig(num_key_value_heads=5),
            "num_key_value_heads must be a divisor of num_attention_heads 32, got 5",
        ),
        (lambda: LlamaConfig(head_dim=7), "head_dim must be even, for rotary positions, got 7"),
        (
            lambda: LlamaConfig(head_dim=2, rope=Rope(kind="dynamic")),
            "head_dim must be above 2 where the rope's kind is 'dynamic', got 2",
        ),
        (lambda: LlamaConfig(rms_norm_eps=0), "rms_norm_eps must be positive and finite, got 0"),
        (lambda: Rope(theta=NAN), "rope theta must be positive and finite, got nan"),
        (lambda: Rope(kind="proportional"), f"rope kind must be one of {ROPES}, got 'proportional'"),
        (lambda: Rope(attention_factor=0), "rope attention_factor must be positive and finite, got 0"),
        (lambda: Rope(truncate=1), "rope truncate must be True or False, got 1"),
        (lambda: Rope(long_factor=[1, -2]), "rope long_factor must be positive and finite, got -2.0"),
        (
            lambda: LlamaConfig(head_dim=6, rope=Rope(kind="longrope", short_factor=[1, 2], long_factor=[1, 2])),
            "rope short_factor must be 3 numbers, head_dim / 2, got (1.0, 2.0)",
        ),
        (
            lambda: LlamaConfig(rope=Rope(kind="yarn", factor=2.0)),
            "rope factor must be 0.25, max_position_embeddings / original_max_position_embeddings, got 2.0",
        ),
        (
            lambda: OPTConfig(activation_function="silu"),
            "activation_function must be one of 'relu', 'gelu', got 'silu'",
        ),
    ],
    "config.json": [
        (lambda: config_from_json({}), "model_type in config.json must be one of 'opt', 'llama', got None"),
        (
            lambda: config_from_json({"model_type": "mistral"}),
            "model_type in config.json must be one of 'opt', 'llama', got 'mistral'",
        ),
        (
            lambda: config_from_json({**llama, "hidden_act": "gelu"}),
            "hidden_act in config.json must be 'silu', the one that is built here, got 'gelu'",
        ),
        (
            lambda: config_from_json({**llama, "rope_scaling": {"rope_type": "su"}}),
            f"rope_type in config.json must be one of {ROPES}, got 'su'",
        ),
        (
            lambda: config_from_json({**llama, "rope_scaling": {"type": "longrope", "long_factor": [2]}}),
            "the rope settings in config.json must be complete for 'longrope', with 'short_factor', got "
            "{'type': 'longrope', 'long_factor': [2]}",
        ),
        (
            lambda: config_from_json({**llama, "rope_scaling": {**yarn, "factor": 3.0}}),
            "the rope factor in config.json must be 2 beside original_max_position_embeddings 1024 and "
            "max_position_embeddings 2048, got 3.0",
        ),
        (
            lambda: config_from_json({**llama, "rope_theta": 1.0, "rope_scaling": yarn}),
            "rope theta must be above 1 where its kind is 'yarn', got 1.0",
        ),
        (
            lambda: config_from_json({**llama, "rope_scaling": {**yarn, "mscale": -1.0}}),
            "rope mscale must be nonnegative and finite, got -1.0",
        ),
        (
            lambda: config_from_json({**llama, "rope_scaling": {**yarn, "original_max_position_embeddings": 1}}),
            "original_max_position_embeddings in config.json must be a whole number of at least 2, got 1",
        ),
        (
            lambda: config_from_json({**llama, "rope_scaling": {"type": "linear"}}),
            "the rope settings in config.json must be complete for 'linear', with 'factor', got {'type': 'linear'}",
        ),
        (
            lambda: config_from_json({**llama, "partial_rotary_factor": 0.5}),
            "partial_rotary_factor in config.json must be 1, got 0.5",
        ),
    ],
    "init_base": [
        (
            lambda: models.init_base(KEY, OPT, "x"),
            "dtype must be one of 'float32', 'bfloat16', 'float16', 'float64', got 'x'",
        ),
        (lambda: models.init_base(0, OPT), f"key must be {A_KEY}, got 0"),
        (lambda: models.init_base(KEY, {}), "config must be an OPTConfig or a LlamaConfig, got {}"),
    ],
    "logits": [
        (lambda: logits(jnp.ones(3, jnp.int32)), "tokens must be whole numbers of shape (B, T), got 'int32 of shape (3,)'"),
        (lambda: logits([[1, 2]]), "tokens must be an array of shape (B, T), got [[1, 2]]"),
        (lambda: logits(TOKENS, [[1, 1, 1]]), "mask must be an array of shape (B, T), got [[1, 1, 1]]"),
        (lambda: logits(TOKENS, dtype="int8"), "dtype must be one of 'float32', 'bfloat16', 'float64', got 'int8'"),
        (lambda: models.logits("opt", {"base": BASE}, TOKENS), "config must be an OPTConfig or a LlamaConfig, got 'opt'"),
        (lambda: models.logits(OPT, BASE, TOKENS), f"params must be {PARAMS}, got {list(BASE)}"),
        (lambda: models.logits(OPT, 1.5, TOKENS), f"params must be {PARAMS}, got 1.5"),
        (lambda: logits(TOKENS, remat=1.5), "remat must be True, False, or names of what is kept, got 1.5"),
        (
            lambda: logits(TOKENS, dtype="\ud800"),
            "dtype must be one of 'float32', 'bfloat16', 'float64', got '\\ud800'",
        ),
        (lambda: models.logits(OPT, None, TOKENS), f"params must be {PARAMS}, got None"),
        (
            lambda: models.mean_loss(OPT, {"base": BASE}, TOKENS, [1.0]),
            "weights must be an array of the tokens' shape, got [1.0]",
        ),
        (lambda: logits(jnp.full((1, 3), 97)), "tokens must be in the vocabulary, 0..96, got 97"),
        (lambda: logits(jnp.array([[1, -1, 2]])), "tokens must be in the vocabulary, 0..96, got -1"),
        (lambda: logits(jnp.ones((2, 3))), "tokens must be whole numbers of shape (B, T), got 'float64 of shape (2, 3)'"),
        (
            lambda: logits(TOKENS, remat=["bits"]),
            "remat must be one of 'between', 'gate', 'inside', 'key', 'query', 'signs', 'up', 'value', got 'bits'",
        ),
        (
            lambda: models.log_probs(OPT, {"base": BASE}, TOKENS, last=3),
            "last must be at most 2, the tokens that are predicted, got 3",
        ),
        (lambda: models.log_probs(OPT, {"base": BASE}, TOKENS, last=0), "last must be a whole number of at least 1, got 0"),
        (lambda: logits(TOKENS, jnp.ones((3, 2))), "mask must be of the tokens' shape (2, 3), got (3, 2)"),
        (
            lambda: models.mean_loss(OPT, {"base": BASE}, TOKENS, jnp.ones((1, 3))),
            "weights must be of the tokens' shape (2, 3), got (1, 3)",
        ),
        (
            lambda: logits(TOKENS, adapter="lora"),
            "adapter must be an Adapter, as lora(...), prefix(...) or prompt(...) makes, or None, got 'lora'",
        ),
        (lambda: logits(TOKENS, adapter=LORA), "params must be {'base': ..., 'peft': ...} with an adapter, got ['base']"),
        (
            lambda: models.logits(OPT, {"base": BASE, "peft": PEFT}, TOKENS),
            "params must be {'base': ...} without an adapter, got ['base', 'peft']",
        ),
        (
            lambda: logits(jnp.ones((1, 65), jnp.int32)),
            "tokens must be at most 64 long with virtual tokens, the positions of the model, got 65",
        ),
    ],
    "adapters": [
        (lambda: models.lora(0), "rank must be a whole number of at least 1, got 0"),
        (lambda: models.lora(2**31), f"rank must be a whole number below 2^20, got {2**31}"),
        (lambda: models.prefix(2**31), f"virtual_tokens must be a whole number below 2^20, got {2**31}"),
        (lambda: models.prompt(2**31), f"virtual_tokens must be a whole number below 2^20, got {2**31}"),
        (lambda: models.lora(alpha=-1), "alpha must be positive and finite, got -1"),
        (lambda: models.lora(targets=()), "targets must be names of modules, none of them twice, got ()"),
        (lambda: models.lora(targets=None), "targets must be names of modules, none of them twice, got None"),
        (lambda: models.lora(targets=[[1], "a"]), "targets must be names of modules, none of them twice, got [[1], 'a']"),
        (lambda: models.lora(targets="q_proj"), "targets must be names of modules, none of them twice, got 'q_proj'"),
        (lambda: models.lora(targets=["a", "a"]), "targets must be names of modules, none of them twice, got ['a', 'a']"),
        (lambda: models.lora(rslora=1), "rslora must be True or False, got 1"),
        (
            lambda: models.lora(targets=["gate_proj"]).shapes(OPT),
            f"targets must be one of {LINEAR}, got 'gate_proj' (did you mean 'out_proj'?)",
        ),
        (lambda: LORA.init(3, OPT), f"key must be {A_KEY}, got 3"),
        (
            lambda: LORA.merge({"base": BASE}),
            "params must have the labels of a model with an adapter ['base', 'peft'], got ['base']",
        ),
        (lambda: LORA.merge(3), f"params must be {LABELS}, got 3"),
        (lambda: models.prefix(0), "virtual_tokens must be a whole number of at least 1, got 0"),
        (lambda: models.prompt(2.0), "virtual_tokens must be a whole number of at least 1, got 2.0"),
        (
            lambda: models.prompt().init(KEY, OPT, tokens=[1]),
            "base must be given with tokens, which have their embeddings there, got None",
        ),
        (
            lambda: models.prefix().init(KEY, OPT, BASE, tokens=[97]),
            "tokens must be a list of whole numbers in 0..96, got [97]",
        ),
    ],
    "steps": [
        (lambda: models.differences(0), "radius must be positive and finite, got 0"),
        (lambda: models.differences(1e-3, 0), "directions must be a whole number of at least 1, got 0"),
        (lambda: models.differences(1e-3, law="sphere"), "law must be one of 'gaussian', 'rademacher', got 'sphere'"),
        (lambda: models.differences(1e-3, sided=3), "sided must be 1 or 2, got 3"),
        (lambda: models.zo_step(3, HOW), "loss must be a function of the parameters and one batch, got 3"),
        (lambda: models.zo_step(LOSS, 1e-3), "how must be as differences(radius, ...) makes, got 0.001"),
        (
            lambda: models.hybrid_step(LOSS, HOW, optax.sgd(0.1), order="base_first"),
            "order must be one of 'simultaneous', 'adapter_first', got 'base_first' (did you mean 'adapter_first'?)",
        ),
        (
            lambda: models.hybrid_step(LOSS, HOW, optax.sgd(0.1), first="base"),
            "first must be another block than 'base', got 'base'",
        ),
        (lambda: models.fo_step(3, optax.sgd(0.1)), "loss must be a function of the parameters and one batch, got 3"),
        (lambda: TwoPoint(1e-3, stream="row"), "stream must be one of 'bulk', 'rows', got 'row' (did you mean 'rows'?)"),
    ],
    "folders": [
        (lambda: models.load_pretrained(".", dtype="foo"), "dtype must be one of 'float32', 'bfloat16', got 'foo'"),
        (lambda: models.load_adapter(".", OPT, dtype="int"), "dtype must be one of 'float32', 'bfloat16', got 'int64'"),
        (lambda: models.load_pretrained(""), "path must be a folder, got ''"),
        (lambda: models.save_pretrained("\0", OPT, BASE), "path must be a name that a folder can have, got '\\x00'"),
        (lambda: models.save_pretrained("\ud800", OPT, BASE), "path must be a name that a folder can have, got '\\ud800'"),
        (lambda: models.save_pretrained("", OPT, BASE), "path must be a folder or free for one, got ''"),
        (lambda: models.save_pretrained("unused", OPT, [1]), "base['[0]'] must be left out, got ()"),
        (lambda: models.load_adapter(".", "opt"), "config must be an OPTConfig or a LlamaConfig, got 'opt'"),
        (lambda: models.save_adapter("unused", {}, LORA, PEFT), "config must be an OPTConfig or a LlamaConfig, got {}"),
        (
            lambda: models.save_adapter("unused", OPT, LORA, PEFT, base_name=NAN),
            "base_name must be a non-empty text, got nan",
        ),
        (lambda: models.load_pretrained("nowhere"), "path must be a folder, got 'nowhere'"),
        (lambda: models.load_adapter(3, OPT), "path must be a folder, got 3"),
        (lambda: models.load_tokenizer("nowhere"), "path must be a folder, got 'nowhere'"),
        (lambda: models.save_pretrained(__file__, OPT, BASE), f"path must be a folder or free for one, got {__file__!r}"),
        (
            lambda: models.save_pretrained("unused", OPT, {**BASE, "more": jnp.ones(2)}),
            "base['more'] must be left out, got (2,)",
        ),
        (
            lambda: models.save_pretrained("unused", OPT, {**BASE, "final_layer_norm": {"weight": jnp.ones(3)}}),
            "base['final_layer_norm/bias'] must be of shape (32,), got 'nothing'",
        ),
        (lambda: models.save_adapter("unused", OPT, 3, PEFT), "adapter must be a LoRA, Prefix or Prompt, got 3"),
        (
            lambda: models.save_adapter("unused", OPT, models.prompt(2), {"prompt_embeddings": np.ones((3, 32))}),
            "peft must be of shapes {'prompt_embeddings': (2, 32)}, got {'prompt_embeddings': (3, 32)}",
        ),
    ],
    "padded": [
        (lambda: models.padded([], 1), "texts must be at least one text, got []"),
        (lambda: models.padded([[1]], 1, side="middle"), "side must be one of 'left', 'right', got 'middle'"),
        (lambda: models.padded([[1, 2]], 1, length=1), "length must be at least 2, that of the longest text, got 1"),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_refusals(call, message):
    check_refusal(call, message)


def test_a_dtype_that_parameters_cannot_have(tmp_path):
    with pytest.raises(ValueError, match=r"^dtype must be one of 'float32', 'bfloat16', got 'float64'"):
        models.load_pretrained(tmp_path, dtype=jnp.float64)
    with pytest.raises(ValueError, match=r"^dtype must be one of 'float32', 'bfloat16', got 'int32'"):
        models.load_adapter(tmp_path, OPT, dtype=jnp.int32)


def test_a_radius_is_checked_before_anything_is_traced():
    with pytest.raises(ValueError, match=r"^radius must be positive and finite, got 'x'"):
        models.differences("x")  # type: ignore[arg-type]
    assert jax.tree.leaves(HOW) == [1e-3, 1, "gaussian", 1]
