"""The options of `python -m theory_lab.finetune`."""

import argparse

from theory_lab._options import Parser
from theory_lab.finetune import bases, language, tasks
from theory_lab.finetune.methods import METHODS
from theory_lab.models.perturb import LAWS, ORDERS
from theory_lab.models.sharding import SHARDS

DEFAULT = "tiny-opt"  # the packaged base that is fine-tuned where none is named
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")
SCHEDULES = ("constant", "linear", "cosine")
USAGE = "%(prog)s [--model MODEL] [--task NAME] [--data PATH] [--method METHOD] [--out DIR] [OPTION ...]"
EPILOG = """examples:
  python -m theory_lab.finetune --task plausible --method Hybrid-PEFT --optimizer adam --learning-rate-peft 3e-3 --epochs 4
  python -m theory_lab.finetune --model /models/opt-125m --task sst2 --data /data/SST-2 --dtype bfloat16 \\
      --method Hybrid-PEFT --adapter lora --learning-rate-base 1e-7 --learning-rate-peft 1e-3 --out results/sst2
A run with --out that is killed goes on where it stood when it is started again with the same arguments."""


def parser() -> argparse.ArgumentParser:
    """All of them, with what they are by default."""
    made = Parser(
        prog="python -m theory_lab.finetune", usage=USAGE, description="Fine-tune a language model on a task.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = made.add_argument_group("model and task").add_argument
    add(
        "--model",
        default=DEFAULT,
        help=f"a Hugging Face folder, or {', '.join(bases.names())} (default: %(default)s)",
    )
    add("--dtype", choices=("float32", "bfloat16"), help="of the parameters (default: as stored)")
    made_up, official = ", ".join(language.TASKS), ", ".join(tasks.READERS)
    told = f"generated: {made_up}; with --data: {official} (default: %(default)s)"
    add("--task", default="sentiment", metavar="NAME", help=told)
    add("--data", metavar="PATH", help="the folder with the task's official files")
    for split in ("train", "dev", "test"):
        add(f"--{split}", type=int, metavar="N", help=f"how many examples of {split} (default: the task's standard)")
    add("--length", type=int, metavar="T", help="the most tokens of a text (default: as many as the model has positions)")
    add = made.add_argument_group("method").add_argument
    add("--method", choices=tuple(METHODS), default="Hybrid-PEFT", help="(default: %(default)s)")
    add("--adapter", choices=("lora", "prefix", "prompt"), help="for the PEFT methods (default: lora)")
    add("--rank", type=int, default=8, help="of LoRA (default: %(default)s)")
    add("--alpha", type=float, default=16.0, help="of LoRA (default: %(default)s)")
    add("--virtual-tokens", type=int, default=10, help="of prefix and prompt (default: %(default)s)")
    add("--learning-rate-base", type=float, help="where the base moves (default: 1e-6 by differences, 1e-4 by gradients)")
    add("--learning-rate-peft", type=float, help="where the adapter moves (default: 1e-3)")
    add("--advise", action="store_true", help="measure curvature first and take the step sizes that follow (for SGD)")
    add("--advise-examples", type=int, default=16, metavar="M", help="look at so many examples (default: %(default)s)")
    add("--optimizer", choices=OPTIMIZERS, default="sgd", help="of the first-order block (default: %(default)s)")
    add(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="of all learning rates, to 0 at the end (default: %(default)s)",
    )
    add("--radius", type=float, default=1e-3, help="of the differences (default: %(default)s)")
    add("--directions", type=int, default=1, metavar="Q", help="differences per step (default: %(default)s)")
    add("--law", choices=LAWS, default="gaussian", help="of the directions (default: %(default)s)")
    add("--sided", type=int, choices=(1, 2), default=2, help="forward or central differences (default: %(default)s)")
    add("--order", choices=ORDERS, default="simultaneous", help="of the two blocks of Hybrid-PEFT (default: %(default)s)")
    add = made.add_argument_group("run").add_argument
    add("--steps", type=int, help="how many steps, or")
    add("--epochs", type=int, help="how many epochs (default: 1)")
    add("--batch-size", type=int, default=8, metavar="B", help="(default: %(default)s)")
    add("--every", type=int, metavar="K", help="steps between two looks on dev and checkpoints (default: an epoch)")
    add("--remat", action="store_true", help="gradient checkpointing")
    add("--devices", type=int, metavar="N", help="share the work among so many devices (default: use one)")
    told = "one of several processes that share it: auto, where a cluster says which, or HOST:PORT,COUNT,NUMBER of this one"
    add("--processes", metavar="SPEC", help=told)
    add("--shard", choices=SHARDS, help="data: the batch is split; full: the base too (default: data, with --devices)")
    add("--seed", type=int, default=0, help="all randomness follows from it (default: %(default)s)")
    add("--out", metavar="DIR", help="where metrics, checkpoints and the result go (default: nowhere)")
    return made
