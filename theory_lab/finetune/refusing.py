"""What `python -m theory_lab.finetune` refuses by its options alone, before anything is loaded or scored."""

import argparse
from pathlib import Path
from typing import Any

from theory_lab import _checks
from theory_lab.devices import mesh
from theory_lab.finetune import kept, language, tasks
from theory_lab.finetune.methods import LARGEST, METHODS, standard_rates
from theory_lab.finetune.options import parser
from theory_lab.models import tensorfile

NAMES = {"name": "--task", "folder": "--data", "key": "--seed", "start": "--model"}  # what is called otherwise in Python


def as_option(message: object, given: argparse.Namespace) -> str:
    """A refusal that may name an argument of Python, as the command line tells it."""
    return _checks.as_option(message, {**{name: f"--{name.replace('_', '-')}" for name in vars(given)}, **NAMES})


def refuse(given: argparse.Namespace) -> None:
    """See that the options fit one another.

    Raises:
        ValueError: a size below one, a folder that cannot be written, a task that is not there, an option that would change
            nothing or that another one excludes, devices that are not there or do not divide the batch.
    """
    _sizes(given)
    _task(given)
    _idle(given)
    _devices(given)
    _advice(given)
    if given.out is not None:
        _checks.writable("--out", given.out)


def refuse_other_options(given: argparse.Namespace, folder: Path) -> None:
    """See that a folder of checkpoints keeps no run of other options.

    An option that was left out, then or now, is compared where it has taken effect: `train.refuse_other`.

    Raises:
        ValueError: it does; the first such option, with both values.
    """
    path = folder / kept.OPTIONS
    if not (folder / kept.CHECKPOINT).is_file() or not path.is_file():
        return
    was = tensorfile.read_json(path)
    for name, now in _deciding(given).items():
        before = was.get(name)
        if None not in (before, now) and before != now:
            option, rule = f"--{name.replace('_', '-')}", f"{before!r}, as in the run that {str(folder)!r} keeps"
            raise _checks.refuse(option, f"{rule} (or another --out)", now)


def keep_options(given: argparse.Namespace, folder: Path) -> None:
    """Keep the options for a later `refuse_other_options`."""
    tensorfile.write_json(folder / kept.OPTIONS, _deciding(given))


def _deciding(given: argparse.Namespace) -> dict[str, Any]:
    """The options that decide which steps are made, whatever the folders of model and data are called."""
    aside = {"out", "test", "processes", "data", *(("model",) if Path(given.model).is_dir() else ())}
    found = {name: value for name, value in vars(given).items() if name not in aside}
    if not given.advise:
        for label, rate in standard_rates(given.method).items():
            asked = getattr(given, f"learning_rate_{label}")
            found[f"learning_rate_{label}"] = rate if asked is None else asked
    return found


def _sizes(given: argparse.Namespace) -> None:
    if given.steps is not None and given.epochs is not None:
        raise _checks.refuse("--steps and --epochs", "given one without the other", (given.steps, given.epochs))
    for name in ("steps", "epochs", "every", "train", "dev", "test", "rank", "virtual_tokens", "directions"):
        if (size := getattr(given, name)) is not None:
            _checks.count(f"--{name.replace('_', '-')}", size, bits=31 if name in ("steps", "epochs", "every") else 20)
    _checks.count("--batch-size", given.batch_size)
    _checks.seed("--seed", given.seed)
    for name in ("alpha", "radius"):
        _checks.positive(f"--{name}", getattr(given, name))
    for name in ("base", "peft"):
        if (rate := getattr(given, f"learning_rate_{name}")) is not None:
            _checks.nonnegative(f"--learning-rate-{name}", rate, reach=LARGEST)


def _task(given: argparse.Namespace) -> None:
    if given.data is not None:
        if given.task in language.TASKS:
            rule = f"one of {', '.join(map(repr, tasks.READERS))} with --data, which a generated task has no use for"
            raise _checks.refuse("--task", rule, given.task)
        _checks.choice("--task", given.task, tasks.READERS)
        if not Path(given.data).is_dir():
            raise _checks.refuse("--data", f"the folder with the official files of {given.task}", given.data)
    elif given.task in tasks.READERS:
        raise _checks.refuse("--data", f"the folder with the official files of {given.task}", None)
    else:
        _checks.choice("--task", given.task, (*language.TASKS, *tasks.READERS))


def _idle(given: argparse.Namespace) -> None:
    """Options that would change nothing, unless they have the value that they have by default."""
    zeroth, first = METHODS[given.method]
    peft = given.method.endswith("PEFT")
    adapter = (given.adapter or "lora") if peft else None
    used = {
        ("rank", "alpha"): adapter == "lora",
        ("virtual_tokens",): adapter in ("prefix", "prompt"),
        ("radius", "directions", "law", "sided"): zeroth is not None,
        ("optimizer",): first is not None,
        ("adapter",): peft,
        ("order",): given.method == "Hybrid-PEFT",
        ("learning_rate_base",): "base" in (zeroth, first),
        ("learning_rate_peft",): "peft" in (zeroth, first),
    }
    made = parser()
    for name in (name for names, use in used.items() if not use for name in names):
        if (value := getattr(given, name)) != made.get_default(name):
            how = given.method if adapter is None or name not in ("rank", "alpha", "virtual_tokens") else adapter
            raise ValueError(f"--{name.replace('_', '-')} must be left out for {how}, got {value!r}")
    if not given.advise and given.advise_examples != made.get_default("advise_examples"):
        raise ValueError(f"--advise-examples must be left out without --advise, got {given.advise_examples!r}")


def _devices(given: argparse.Namespace) -> None:
    if given.devices is None:
        if given.shard is not None:
            raise ValueError(f"--shard must be left out without --devices, got {given.shard!r}")
        return
    if given.advise:
        raise ValueError(f"--devices must be left out with --advise, which looks at one, got {given.devices!r}")
    size = mesh(given.devices).size
    if given.batch_size % size:
        raise _checks.refuse("--batch-size", f"a multiple of {size}, the number of devices", given.batch_size)


def _advice(given: argparse.Namespace) -> None:
    """What is known of SGD with simultaneous steps says nothing of other methods."""
    if not given.advise:
        return
    if _checks.count("--advise-examples", given.advise_examples) < given.batch_size:
        raise _checks.refuse("--advise-examples", f"at least --batch-size, {given.batch_size}", given.advise_examples)
    for label in ("base", "peft"):
        if (rate := getattr(given, f"learning_rate_{label}")) is not None:
            raise ValueError(f"--learning-rate-{label} must be left out with --advise, which chooses it, got {rate!r}")
    if given.optimizer != "sgd":
        raise ValueError(f"--optimizer must be sgd with --advise, whose limits are those of SGD, got {given.optimizer!r}")
    if given.order != "simultaneous":
        rule = "simultaneous with --advise, whose limits are those of blocks that step together"
        raise ValueError(f"--order must be {rule}, got {given.order!r}")
