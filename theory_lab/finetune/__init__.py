"""Fine-tuning language models: a base and a task make a problem, a method trains it.

    base, questions -> fine_tune -> problem; problem, method -> train -> Trained

`base_model` gives a base by name or folder, `task` a task of the generated language, `tasks` those in the official files,
`encode` the examples as tokens. `fine_tune` makes a `Problem` like any other of this library; `train` takes steps in place
on models of which there is no room for two copies. `python -m theory_lab.finetune` does all of it in one command, and
`python -m theory_lab.finetune.pretrain` makes a base.

Example:
    >>> import jax
    >>> from theory_lab import finetune, models
    >>> key = jax.random.key(0)
    >>> base = finetune.base_model("tiny-opt", key, dtype="float32")
    >>> task = finetune.task("plausible", key, train=16, dev=8, test=8)
    >>> questions = {split: base.encode(getattr(task, split)) for split in ("train", "dev")}
    >>> problem = finetune.fine_tune(base.config, base.base, questions["train"], models.lora(rank=4))
    >>> problem
    FineTune(n=16, dimensions={base: 456032, peft: 6144})
    >>> hybrid = finetune.method("Hybrid-PEFT", {"base": 1e-6, "peft": 1e-2})
    >>> done = finetune.train(problem, hybrid, key=key, epochs=3, dev=questions["dev"])
    >>> bool(done.losses[-2:].mean() < done.losses[:2].mean()), sorted(done.history)[:3]
    (True, ['backwards', 'dev_accuracy', 'dev_loss'])
"""

from theory_lab.finetune import baselines, language, tasks
from theory_lab.finetune.bases import Base, base_model, names
from theory_lab.finetune.encoding import Questions, encode
from theory_lab.finetune.language import task
from theory_lab.finetune.methods import METHODS, Method, method
from theory_lab.finetune.problem import FineTune, fine_tune
from theory_lab.finetune.scoring import Answers, answers
from theory_lab.finetune.train import Trained, train

__all__ = [
    "METHODS",
    "Answers",
    "Base",
    "FineTune",
    "Method",
    "Questions",
    "Trained",
    "answers",
    "base_model",
    "baselines",
    "encode",
    "fine_tune",
    "language",
    "method",
    "names",
    "task",
    "tasks",
    "train",
]
