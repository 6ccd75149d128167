"""What `from theory_lab import finetune` offers, and what it does not cost those who do not ask."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from theory_lab import finetune
from theory_lab.finetune.encoding import encode

ROOT = Path(__file__).parents[2]


def test_every_name_is_there():
    assert sorted(finetune.__all__, key=lambda name: (not name.isupper(), name)) == finetune.__all__
    assert all(hasattr(finetune, name) for name in finetune.__all__)


def test_a_base_encodes_as_encode_does():
    base = finetune.base_model("random-llama", jax.random.key(0))
    examples = finetune.task("blank", jax.random.key(1), train=3, dev=1, test=1).train
    given = base.encode(examples, length=9)
    expected = encode(examples, base.tokenizer, length=9, start=base.start, pad=base.pad)
    np.testing.assert_array_equal(given.options.tokens, expected.options.tokens)
    assert given.truncated == expected.truncated > 0
    assert base.encode(examples).truncated == 0


def test_rooms_of_language_models_are_imported_when_they_are_asked_for():
    program = """
import sys
import theory_lab as tl
rooms = ("theory_lab.models", "theory_lab.finetune")
assert not [name for name in sys.modules if name.startswith(rooms)]
assert tl.models.lora(2).rank == 2
assert "theory_lab.finetune" not in sys.modules
assert tl.finetune.train is tl.finetune.train
assert not hasattr(tl, "finetuning")
from theory_lab import finetune, models
assert (finetune, models) == (tl.finetune, tl.models)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
