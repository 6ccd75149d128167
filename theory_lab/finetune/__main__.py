"""`python -m theory_lab.finetune`: fine-tune a language model on a task, and say what came of it.

Exit code: 0; 2 for bad usage and for results that cannot be written; 130 after Ctrl-C.
"""

import argparse
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from theory_lab import _checks
from theory_lab._typing import Params
from theory_lab.advise import Advice, advise
from theory_lab.devices import put_like
from theory_lab.finetune import baselines, bases, kept, language, tasks
from theory_lab.finetune.encoding import Questions
from theory_lab.finetune.methods import METHODS, Method, method, refuse_lost, standard_rates
from theory_lab.finetune.moving import moving
from theory_lab.finetune.options import parser
from theory_lab.finetune.problem import FineTune, fine_tune
from theory_lab.finetune.refusing import as_option, keep_options, refuse, refuse_other_options
from theory_lab.finetune.resuming import refuse_damaged
from theory_lab.finetune.train import Trained, refuse_other, train
from theory_lab.measure.accuracy import accuracy
from theory_lab.models import Adapter, copy_tokenizer, lora, place, prefix, prompt, save_adapter, save_pretrained, tensorfile
from theory_lab.models.perturb import Differences, differences
from theory_lab.run.frames import to_csv
from theory_lab.run.store import write

TASK, BASE, RUN = range(3)  # the streams of the seed
ADVICE = 3  # the stream of the run's key that advice takes; the loop has those before
CONFIDENCE = 0.95
SPENT = {"step": "step", "forwards": "forward", "backwards": "backward", "tokens": "token"}  # columns of the history, of one
SMALLER = "What follows is of the best look before; try smaller learning rates (--advise measures them)"
LOOK_AHEAD = 50  # products with the Hessian, for a view of where training leads


class Setting(NamedTuple):
    """All that a run needs."""

    model: bases.Base
    task: tasks.Task
    questions: dict[str, Questions]  # by split
    problem: FineTune


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the arguments are those of this process by default. Returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        _join(given)
        with nullcontext() if jax.process_index() == 0 else redirect_stdout(io.StringIO()):
            return _run(given)
    except (ValueError, ImportError, OSError) as error:
        print(as_option(error, given), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        still = f"; {given.out} keeps what was done" if given.out else ""
        print(f"\ninterrupted{still}", file=sys.stderr)
        return 130


def _join(given: argparse.Namespace) -> None:
    """Make the devices of the other processes visible; before anything is computed."""
    spec, rule = given.processes, "auto, or HOST:PORT,COUNT,NUMBER with a number below the count"
    if spec is None:
        return
    if given.devices is None:
        raise ValueError(f"--devices must be given with --processes, one for each at least, got {given.devices!r}")
    found = re.fullmatch(r"([^,]+:\d+),(\d+),(\d+)", spec)
    if spec != "auto" and (found is None or int(found[3]) >= int(found[2])):
        raise _checks.refuse("--processes", rule, spec)
    try:
        jax.distributed.initialize(*(() if found is None else (found[1], int(found[2]), int(found[3]))))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"--processes {spec}: {' '.join(str(error).split())}") from error


def _run(given: argparse.Namespace) -> int:
    refuse(given)
    folder = Path(given.out, "checkpoints") if given.out else None
    if folder is not None:
        refuse_other_options(given, folder)
        refuse_damaged(folder)
    key = jax.random.key(given.seed)
    setting = _setting(given, key)
    epochs = 1 if given.steps is None and given.epochs is None else given.epochs
    if given.batch_size > setting.problem.n:
        raise _checks.refuse("--batch-size", f"at most the number of examples, {setting.problem.n}", given.batch_size)
    per_epoch = -(-setting.problem.n // given.batch_size)
    steps = (epochs or 1) * per_epoch if given.steps is None else given.steps
    run_key = jax.random.fold_in(key, RUN)
    how = _method(given, steps)
    if how.moves.zeroth == "base":
        refuse_lost(how, {"base": setting.model.base})
    dev = setting.questions["dev"]
    run: dict[str, Any] = {
        "key": run_key, "steps": given.steps, "epochs": epochs, "batch_size": given.batch_size, "dev": dev,
        "every": given.every, "devices": given.devices, "shard": given.shard or "data", "folder": folder,
    }  # fmt: skip
    if folder is None:
        return _trained(given, setting, how, run, steps)
    if not given.advise:
        refuse_other(setting.problem, how, **run)
    with kept.held("--out", tensorfile.new_folder(folder)):
        if jax.process_index() == 0:
            for written in (folder.parent, folder.parent / "base", folder.parent / "adapter"):
                kept.sweep(written)
            keep_options(given, folder)
        return _trained(given, setting, how, run, steps)


def _trained(given: argparse.Namespace, setting: Setting, how: Method, run: dict[str, Any], steps: int) -> int:
    """The run itself, what it is compared with, and what came of it."""
    told = _advice(given, setting, how, run["key"], steps) if given.advise else None
    how = how if told is None else _method(given, steps, told.step_sizes)
    print(f"{how.name} on {setting.task.name}, {setting.model.name}: {setting.problem}")
    _tell_texts(setting)
    test, dev = setting.questions["test"], setting.questions["dev"]
    results = {
        "majority": _shown("majority", baselines.majority(setting.task.train, setting.task.test)),
        "zero_shot": _shown("zero-shot", _bare(setting).answers({"base": setting.model.base}, test).correct),
    }
    done = train(setting.problem, how, **run, progress=sys.stderr.isatty() and jax.process_index() == 0)
    if done.diverged_at is not None:
        print(f"diverged at step {done.diverged_at}: the loss was not finite, and training stopped. {SMALLER}")
    for remark in done.remarks:
        print(f"note: {remark}")
    best = _placed(done)
    results["dev"] = _shown(f"dev, best of {len(done.history)} looks", setting.problem.answers(best, dev).correct)
    results["test"] = _shown(f"test, after {_many(done.best_step, 'step')}", setting.problem.answers(best, test).correct)
    spent = {name: int(done.history[name].iloc[-1]) for name in SPENT}
    print("spent:", ", ".join(_many(n, SPENT[name]) for name, n in spent.items()) + f", {done.seconds:.1f} s in steps")
    if given.out and jax.process_index() == 0:
        found = {"accuracy": results, "spent": spent, "advice": None if told is None else _kept(told)}
        _write(Path(given.out), given, setting, how, done, found)
    return 0


def _many(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"


def _placed(done: Trained) -> Params:
    """The best parameters where the last ones lie: no device need have room for a whole base."""
    lies = lambda label: done.best[label] is done.params[label]
    return {label: block if lies(label) else put_like(block, done.params[label]) for label, block in done.best.items()}


def _setting(given: argparse.Namespace, key: jax.Array) -> Setting:
    sizes = {split: getattr(given, split) for split in ("train", "dev", "test") if getattr(given, split) is not None}
    stream = jax.random.fold_in(key, TASK)
    if given.data is None:
        task = language.task(given.task, stream, **sizes)
    else:
        task = tasks.sample(tasks.read(given.task, given.data), stream, **sizes)
    with _loading(given):
        model = bases.base_model(given.model, jax.random.fold_in(key, BASE), dtype=given.dtype)
    if given.devices is not None:
        model = model._replace(base=place({"base": model.base}, given.devices, given.shard or "data")["base"])
    adapter = _adapter(given)
    virtual = 0 if adapter is None else adapter.virtual_tokens
    if adapter is not None and not virtual and given.rank > model.config.hidden_size:
        rule = f"at most {model.config.hidden_size}, the width of the model, beyond which no rank is low"
        raise _checks.refuse("--rank", rule, given.rank)
    positions = model.config.max_position_embeddings
    if virtual > positions - 2:
        rule = f"at most {positions - 2}, two fewer than the model has positions"
        raise _checks.refuse("--virtual-tokens", rule, virtual)
    length = positions - virtual if given.length is None else given.length
    if length > positions - virtual:
        raise _checks.refuse("--length", f"at most {positions - virtual}, the positions that the model has for text", length)
    splits = {"train": task.train, "dev": task.dev, "test": task.test}
    questions = {name: model.encode(examples, length=length) for name, examples in splits.items()}
    problem = fine_tune(model.config, model.base, questions["train"], adapter, remat=given.remat)
    return Setting(model, task, questions, problem)


def _loading(given: argparse.Namespace) -> AbstractContextManager[Any]:
    """A base that no device shall hold whole is loaded beside them."""
    return jax.default_device(jax.local_devices(backend="cpu")[0]) if given.shard == "full" else nullcontext()


def _adapter(given: argparse.Namespace) -> Adapter | None:
    if not given.method.endswith("PEFT"):
        return None
    if given.adapter in (None, "lora"):
        return lora(given.rank, given.alpha)
    return (prefix if given.adapter == "prefix" else prompt)(given.virtual_tokens)


def _method(given: argparse.Namespace, steps: int, advised: Mapping[str, float] | None = None) -> Method:
    zeroth, first = METHODS[given.method]
    standard = advised or standard_rates(given.method)
    rates: dict[str, Any] = {}
    for label in (label for label in ("base", "peft") if label in (zeroth, first)):
        rate = getattr(given, f"learning_rate_{label}")
        rates[label] = _schedule(given.schedule, standard[label] if rate is None else rate, steps)
    if first is not None and given.optimizer != "sgd":
        rates[first] = _optimizer(given.optimizer, rates[first])
    how = None if zeroth is None else differences(given.radius, given.directions, given.law, given.sided)
    return method(given.method, rates, differences=how, order=given.order)


def _schedule(name: str, rate: float, steps: int) -> Any:
    if name == "constant":
        return rate
    return optax.linear_schedule(rate, 0.0, steps) if name == "linear" else optax.cosine_decay_schedule(rate, steps)


def _optimizer(name: str, rate: Any) -> optax.GradientTransformation:
    return optax.sgd(rate, momentum=0.9) if name == "momentum" else {"adam": optax.adam, "adamw": optax.adamw}[name](rate)


def _advice(given: argparse.Namespace, setting: Setting, how: Method, key: jax.Array, steps: int) -> Advice:
    """Step sizes from the curvature where the run starts, told with their reasons."""
    examples = min(given.advise_examples, setting.problem.n)
    zeroth, first = how.moves
    problem = moving(setting.problem, [label for label in (zeroth, first) if label is not None], key, examples=examples)
    asked = Differences(1.0) if how.differences is None else how.differences
    print(f"step sizes from the curvature on {examples} of {setting.problem.n} examples:", flush=True)
    told = advise(
        problem,
        key=jax.random.fold_in(key, ADVICE),
        zeroth=() if zeroth is None else (zeroth,),
        directions=asked.directions,
        law=asked.law,
        ordering="random_reshuffling",
        batch_size=given.batch_size,
        products=LOOK_AHEAD,
        horizon=steps,
    )  # one-sided whatever --sided: the limits are the same, and --radius stays; two-sided asks for third derivatives
    for reason in told.reasons:
        if "step size" in reason.quantity:
            print(f"{reason.quantity}: {reason.value:.4g}\n    {reason.why} [{reason.statement}]", flush=True)
    return told


def _tell_texts(setting: Setting) -> None:
    """Texts that were too long for the model or for --length, and words that the model does not know."""
    unknown = getattr(setting.model.tokenizer, "unknown", None)
    for name, questions in setting.questions.items():
        tokens, present = questions.options.tokens, questions.options.present
        if questions.truncated:
            cut = f"{questions.truncated} of {len(questions)} examples"
            print(f"{name}: {cut} lost their beginning, to have {tokens.shape[-1]} tokens")
        if unknown is not None and (lost := int(np.sum(present & (tokens == unknown)))):
            print(f"{name}: {lost} of {int(np.sum(present))} tokens stand for words that {setting.model.name} does not know")


def _kept(told: Advice) -> dict[str, Any]:
    limits = {label: [limit.value, limit.low, limit.high] for label, limit in told.limits.items()}
    return {"step_sizes": dict(told.step_sizes), "limits": limits, "spent": dict(told.spent)}


def _bare(setting: Setting) -> FineTune:
    """The model without an adapter."""
    return fine_tune(setting.model.config, setting.model.base, setting.questions["train"])


def _shown(name: str, correct: Any) -> dict[str, float]:
    measured = accuracy(correct, confidence=CONFIDENCE, name=name)
    interval = f"{CONFIDENCE:.0%} exact interval {measured.low:.3f} to {measured.high:.3f}"
    print(f"{name}: {measured.value:.3f} of {measured.samples} right, {interval}", flush=True)
    return {"value": measured.value, "low": measured.low, "high": measured.high, "samples": measured.samples}


def _write(
    out: Path, given: argparse.Namespace, setting: Setting, how: Method, done: Trained, results: dict[str, Any]
) -> None:
    model, base_name = setting.model, setting.model.name
    if "base" in how.moves:
        if given.model not in bases.names():
            copy_tokenizer(given.model, out / "base")
        save_pretrained(out / "base", model.config, done.best["base"])
        base_name = str(out / "base")
    if setting.problem.adapter is not None:
        save_adapter(out / "adapter", model.config, setting.problem.adapter, done.best["peft"], base_name=base_name)
    write(out / "history.csv", to_csv(done.history))
    told = {
        "arguments": vars(given), "confidence": CONFIDENCE, "best_step": done.best_step, "diverged_at": done.diverged_at,
        "remarks": done.remarks,
        "seconds": done.seconds, "scored": setting.task.scored, "sizes": setting.task.sizes, **results,
        "truncated": {name: questions.truncated for name, questions in setting.questions.items()},
    }  # fmt: skip
    write(out / "metrics.json", json.dumps(told, indent=2, sort_keys=True) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    sys.exit(main())
