"""The small base models that come with the package, pretrained on the generated language.

Each lies in ``bases/NAME/`` beside this file: a Hugging Face folder with the command that made it (README.md) and its curve
of held-out perplexity (curve.csv), as `theory_lab.finetune.pretrain` writes them.
"""

from pathlib import Path
from typing import Any

from theory_lab import _checks
from theory_lab.models import Pretrained, load_pretrained

PACKAGED = Path(__file__).parent / "bases"


def names() -> tuple[str, ...]:
    """The bases that are there, in alphabetical order."""
    return tuple(sorted(config.parent.name for config in PACKAGED.glob("*/config.json")))


def load(name: str, *, dtype: Any = None) -> Pretrained:
    """A base by its name; its tokens are those of `theory_lab.finetune.language.tokenizer`.

    Args:
        name: one of `names`.
        dtype: of the parameters; see `theory_lab.models.load_pretrained`.

    Raises:
        ValueError: another name; the message lists those there are.
    """
    there = names()
    if name not in there:
        listed = f"one of {', '.join(map(repr, there))}" if there else "a base in the package, which has none"
        raise _checks.refuse("name", listed, name)
    return load_pretrained(PACKAGED / name, dtype=dtype)
