"""The doors of fine-tuning: examples, samples, encoding, text, the generated language."""

import jax
import pytest

from tests.doors.refusals import A_KEY, cases, check_refusal
from theory_lab.finetune import tasks
from theory_lab.finetune.tasks import Pools, example

ONE = example("a", "is it ?", ["yes", "no"], 0)
POOLS = Pools("made", "the option", (ONE,) * 4, (ONE,) * 2)
NAMES = "one of 'sst2', 'rte', 'wsc', 'wic', 'copa', 'winogrande'"
SCORINGS = "one of 'what follows the blank', 'the option and what follows the blank'"

DOORS = {
    "example": [
        (lambda: example("", "is it ?", ["yes", "no"], 0), "id must be a non-empty text, got ''"),
        (lambda: example("a", "", ["yes", "no"], 0), "prompt must be a non-empty text, got ''"),
        (lambda: example("a", 3, ["yes", "no"], 0), "prompt must be a sequence of texts, got 3"),
        (lambda: example("a", ["b", ""], ["yes", "no"], 0), "prompt[1] must be a non-empty text, got ''"),
        (
            lambda: example("a", ["b"], ["yes", "no"], 0),
            "prompt must be one text, or one for each of the 2 options, got ('b',)",
        ),
        (lambda: example("a", "b", "yes", 0), "options must be a sequence of texts, got 'yes'"),
        (lambda: example("a", "b", ["yes"], 0), "options must be at least two texts, got ('yes',)"),
        (lambda: example("a", "b", ["yes", 2], 0), "options[1] must be a non-empty text, got 2"),
        (lambda: example("a", "b", ["yes", "no"], 2), "label must be below the number of options, 2, got 2"),
        (lambda: example("a", "b", ["yes", "no"], -1), "label must be a whole number of at least 0, got -1"),
        (lambda: example("a", "b", ["yes", "no"], True), "label must be a whole number of at least 0, got True"),
    ],
    "sample": [
        (lambda: tasks.sample(3), "pools must be Pools, as theory_lab.finetune.tasks.read makes, got 3"),
        (lambda: tasks.sample(POOLS, 3, dev=1), f"key must be {A_KEY}, got 3"),
        (
            lambda: tasks.sample(POOLS, jax.random.split(jax.random.key(0)), dev=1),
            "key must be a single key, got 'an array of keys of shape (2,)'",
        ),
        (lambda: tasks.sample(POOLS, train=0), "train must be a whole number of at least 1, got 0"),
        (lambda: tasks.sample(POOLS, test=1.0), "test must be a whole number of at least 1, got 1.0"),
        (lambda: tasks.sample(POOLS, dev=-1), "dev must be a whole number of at least 0, got -1"),
        (lambda: tasks.sample(POOLS, dev=4), "dev must be less than the 4 official training examples, got 4"),
    ],
    "read": [
        (lambda: tasks.read("sst", "."), f"name must be {NAMES}, got 'sst' (did you mean 'sst2'?)"),
        (
            lambda: tasks.read("rte", "/nowhere"),
            "folder must be a folder with train.jsonl and val.jsonl, got '/nowhere'",
        ),
        (lambda: tasks.read("rte", 3), "folder must be a folder with train.jsonl and val.jsonl, got 3"),
        (
            lambda: tasks.read("winogrande", "/nowhere"),
            "folder must be a folder with train_xl.jsonl and dev.jsonl, got '/nowhere'",
        ),
        (lambda: tasks.read("winogrande", 3), "folder must be a folder with train_xl.jsonl and dev.jsonl, got 3"),
        (
            lambda: tasks.read("winogrande", ".", size="xxl"),
            "size must be one of 'xl', 'l', 'm', 's', 'xs', got 'xxl' (did you mean 'xl'?)",
        ),
        (lambda: tasks.read("winogrande", ".", scored="all"), f"scored must be {SCORINGS}, got 'all'"),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_refusals(call, message):
    check_refusal(call, message)
