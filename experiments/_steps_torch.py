"""The peer of `step_time`: the same steps by PyTorch, transformers and peft, in a process of their own.

    python -m experiments._steps_torch '{"model": ...}'

Attention by scaled_dot_product_attention, plain SGD, gradients set to None; on a processor a thread for each core that it
may use, as XLA takes. Zeroth order as MeZO does it, in place, the seed in the place of the direction: two-sided for the base
alone, forward from the clean loss in the hybrid step.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from experiments._shapes import config_of, cores
from theory_lab.models import config_to_json

WARM, RADIUS, STEP = 3, 1e-3, 1e-6
ADAPTERS: dict[str, Callable[[], Any]] = {  # those of `experiments._fine_tuning`
    "lora": lambda: LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], lora_dropout=0.0),
    "prefix": lambda: PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "prompt": lambda: PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=10),
}


def main(text: str) -> None:
    """Measure the steps of one model and print one JSON line of rows."""
    cell = json.loads(text)
    kind = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(cores())
    print("\n" + json.dumps({"device": kind, "rows": [measured(cell, how) for how in cell["steps"]]}))


def measured(cell: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of each repeat and the allocator's peak, from a fresh model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _model(cell, how, device)
    tokens = torch.randint(0, model.config.vocab_size, (cell["texts"], cell["tokens"]), device=device)
    step = STEPS[how["method"]](model, partial(_loss, model, tokens))
    times = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM + cell["repeats"]):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        times.append(1e3 * (time.perf_counter() - start))
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    del model, step
    if device.type == "cuda":
        torch.cuda.empty_cache()
    print(
        f"pytorch {cell['model']} {how}: {sorted(times[WARM:])[len(times[WARM:]) // 2]:.2f} ms", file=sys.stderr, flush=True
    )
    return {**how, "milliseconds": times[WARM:], "compile": 0.0, "analysis": None, "allocated": peak}


def _model(cell: dict[str, Any], how: dict[str, Any], device: torch.device) -> Any:
    stored = config_to_json(config_of(cell["model"])) | {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    kind, cls = (OPTConfig, OPTForCausalLM) if stored["model_type"] == "opt" else (LlamaConfig, LlamaForCausalLM)
    config = kind(**stored)
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(getattr(torch, cell["dtype"]))
    with torch.device(device):
        model = cls(config)
    model.train()
    if how["method"].endswith("PEFT"):
        model = get_peft_model(model, ADAPTERS[how["adapter"]]())
        model = model.to(getattr(torch, cell["dtype"]))
    if how["kept"] == "nothing":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if how["method"].endswith("PEFT"):
            model.enable_input_require_grads()
    return model


def _loss(model: Any, tokens: Any) -> Any:
    return model(input_ids=tokens, labels=tokens, use_cache=False).loss


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _perturb(parameters: list[Any], seed: int, scale: float) -> None:
    """parameters + scale * v in place, v the direction of this seed."""
    torch.manual_seed(seed)
    for p in parameters:
        p.data.add_(scale * torch.normal(0, 1, size=p.size(), device=p.device, dtype=p.dtype))


def _forward(model: Any, loss: Callable[[], Any]) -> Callable[[], None]:
    @torch.no_grad()
    def step() -> None:
        loss()

    return step


def _first(model: Any, loss: Callable[[], Any]) -> Callable[[], None]:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=STEP)

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _zeroth(model: Any, loss: Callable[[], Any]) -> Callable[[], None]:
    parameters = list(model.parameters())

    @torch.no_grad()
    def step() -> None:
        _perturb(parameters, 1, RADIUS)
        above = loss()
        _perturb(parameters, 1, -2 * RADIUS)
        slope = (above - loss()) / (2 * RADIUS)
        _perturb(parameters, 1, RADIUS)
        _perturb(parameters, 1, -STEP * float(slope))

    return step


def _hybrid(model: Any, loss: Callable[[], Any]) -> Callable[[], None]:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=STEP)
    base = [p for p in model.parameters() if not p.requires_grad]

    def step() -> None:
        value = loss()
        value.backward()
        with torch.no_grad():
            _perturb(base, 1, RADIUS)
            slope = (loss() - value.detach()) / RADIUS
            _perturb(base, 1, -RADIUS)
            _perturb(base, 1, -STEP * float(slope))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


STEPS = {"forward": _forward, "FO-FT": _first, "FO-PEFT": _first, "ZO-FT": _zeroth, "Hybrid-PEFT": _hybrid}

if __name__ == "__main__":
    main(sys.argv[1])
