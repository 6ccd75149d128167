"""The doors of fine-tuning: examples, samples, encoding, text, the generated language."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.doors.refusals import A_KEY, KEY, LABELS, NAN, cases, check_refusal
from theory_lab.finetune import baselines, language, tasks, text
from theory_lab.finetune.blocks import blocks_of
from theory_lab.finetune.encoding import encode
from theory_lab.finetune.methods import method
from theory_lab.finetune.pretrain import pretrain
from theory_lab.finetune.problem import fine_tune
from theory_lab.finetune.recipe import Settings
from theory_lab.finetune.scoring import answers
from theory_lab.finetune.tasks import Pools, example
from theory_lab.finetune.tokens import RULE, codec, word_tokenizer
from theory_lab.finetune.train import train
from theory_lab.models import OPTConfig, init_base, lora
from theory_lab.models.perturb import differences

ONE = example("a", "is it ?", ["yes", "no"], 0)
POOLS = Pools("made", "the option", (ONE,) * 4, (ONE,) * 2)
NAMES = "one of 'sst2', 'rte', 'wsc', 'wic', 'copa', 'winogrande'"
SCORINGS = "one of 'what follows the blank', 'the option and what follows the blank'"
TOKENIZER = word_tokenizer(["is", "it", "?", "yes", "no"])
THREE = example("b", "is it ?", ["yes", "no", "it"], 0)
QUESTIONS = encode([ONE], TOKENIZER)
SETTINGS = Settings(steps=1)
PRECISION = "one of 'float32', 'bfloat16', got 'float16' (did you mean 'bfloat16'?)"
CONFIG = OPTConfig(9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, ffn_dim=4, max_position_embeddings=8)
SHORT = OPTConfig(6, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, ffn_dim=4, max_position_embeddings=8)
FLAT = lambda: 1.0
HOW = differences(1e-3)
PLAIN = optax.sgd(1.0)
EXAMPLES = "a non-empty sequence of Examples"
WORDS = "single words or punctuation marks in lower case"
LONGEST = "whose longest option takes 1 of it (leave it out if the model has fewer positions)"
SHAPE = "of shape (batch, tokens, vocabulary), (32, 5, 'V')"


class Odd:
    def encode(self, text):
        return 3


BASE = init_base(KEY, CONFIG)
FULL = fine_tune(CONFIG, BASE, QUESTIONS)
ADAPTED = fine_tune(CONFIG, BASE, QUESTIONS, lora(1))
SGD = method("FO-FT", {"base": 0.1})
TYPES = "one of 'float32', 'bfloat16'"
ADAPTER = "a LoRA, Prefix or Prompt, or None"
MODELS = "an OPTConfig or a LlamaConfig"
ORDERED = "ordering must be a function (key, epoch, n) -> (1,) integer indices"
WITHIN = "ordering must be a function whose indices lie within 0..0"
METHODS = "one of 'FO-FT', 'ZO-FT', 'FO-PEFT', 'ZO-PEFT', 'Hybrid-PEFT'"


def fit(problem=FULL, how=SGD, key=KEY, steps=1, batch_size=1, **options):
    return train(problem, how, key=key, steps=steps, batch_size=batch_size, **options)


DOORS = {
    "fine_tune": [
        (
            lambda: fine_tune(CONFIG, jax.tree.map(lambda a: a.astype(int), BASE), QUESTIONS),
            "base must be of floating-point numbers, got 'int64'",
        ),
        (lambda: fine_tune(3, BASE, QUESTIONS), f"config must be {MODELS}, got 3"),
        (
            lambda: fine_tune(CONFIG, {**BASE, "more": {}, "embed_tokens": {"weight": jnp.ones(3)}}, QUESTIONS),
            "base['embed_tokens/weight'] must be of shape (9, 4), got (3,)",
        ),
        (lambda: fine_tune(CONFIG, BASE, [ONE]), f"questions must be Questions, as encode makes, got [{ONE!r}]"),
        (
            lambda: fine_tune(CONFIG, BASE, QUESTIONS, "lora"),
            f"adapter must be {ADAPTER}, got 'lora'",
        ),
        (
            lambda: fine_tune(CONFIG, BASE, QUESTIONS, dtype="float16"),
            "dtype must be one of 'float32', 'bfloat16', got 'float16' (did you mean 'bfloat16'?)",
        ),
        (lambda: fine_tune(CONFIG, BASE, QUESTIONS, dtype="tiny"), f"dtype must be {TYPES}, got 'tiny'"),
        (lambda: fine_tune(CONFIG, BASE, QUESTIONS, remat=1), "remat must be True or False, got 1"),
        (
            lambda: fine_tune(SHORT, init_base(KEY, SHORT), QUESTIONS),
            "the tokens of questions must be below the vocabulary's size, 6, got 8",
        ),
    ],
    "method": [
        (lambda: method("FO_FT", {"base": 1.0}), f"name must be {METHODS}, got 'FO_FT' (did you mean 'FO-FT'?)"),
        (
            lambda: method("FO-FT", {"peft": 1.0}),
            "learning_rates must have the labels of what FO-FT moves ['base'], got ['peft']",
        ),
        (lambda: method("FO-FT", 0.1), f"learning_rates must be {LABELS}, got 0.1"),
        (lambda: method("FO-FT", {"base": -1.0}), "learning_rates['base'] must be nonnegative and finite, got -1.0"),
        (lambda: method("FO-FT", {"base": 1e60}), "learning_rates['base'] must be at most 3.38953e+38, got 1e+60"),
        (
            lambda: method("ZO-FT", {"base": lambda step: 1e60}),
            "learning_rates['base'] at step 0 must be at most 3.38953e+38, got 1e+60",
        ),
        (
            lambda: method("ZO-FT", {"base": lambda step: NAN}),
            "learning_rates['base'] at step 0 must be nonnegative and finite, got nan",
        ),
        (lambda: method("ZO-FT", {"base": FLAT}), f"learning_rates['base'] must be a number or a schedule, got {FLAT!r}"),
        (
            lambda: method("ZO-FT", {"base": PLAIN}),
            "learning_rates['base'] must be a number or a schedule, for a block that is updated in place, got "
            "'GradientTransformationExtraArgs'",
        ),
        (
            lambda: method("FO-FT", {"base": 1.0}, differences=HOW),
            f"differences must be left out for FO-FT, which takes no differences, got {HOW!r}",
        ),
        (
            lambda: method("ZO-FT", {"base": 1.0}, differences=1e-3),
            "differences must be as theory_lab.models.perturb.differences makes, got 0.001",
        ),
        (
            lambda: method("ZO-FT", {"base": 1.0}, order="adapter_first"),
            "order must be left out for ZO-FT, which moves one block, got 'adapter_first'",
        ),
        (
            lambda: method("Hybrid-PEFT", {"base": 1.0, "peft": 1.0}, order="base_first"),
            "order must be one of 'simultaneous', 'adapter_first', got 'base_first' (did you mean 'adapter_first'?)",
        ),
    ],
    "train": [
        (lambda: fit(3), "problem must be a FineTune, as fine_tune makes, got 3"),
        (lambda: fit(how="FO-FT"), "method must be a Method, as theory_lab.finetune.methods.method makes, got 'FO-FT'"),
        (lambda: fit(ADAPTED), "the blocks of FO-FT must have the labels of the problem ['base', 'peft'], got ['base']"),
        (lambda: fit(ordering=None), f"{ORDERED}, got None"),
        (
            lambda: fit(ordering=lambda epoch: [0]),
            f"{ORDERED}, got 'a function with too many positional arguments'",
        ),
        (lambda: fit(ordering=lambda key, epoch, n: np.arange(n + 1)), f"{ORDERED}, got 'int64 of shape (2,)'"),
        (lambda: fit(ordering=lambda key, epoch, n: [0.0]), f"{ORDERED}, got 'float64 of shape (1,)'"),
        (lambda: fit(ordering=lambda key, epoch, n: [True]), f"{ORDERED}, got 'bool of shape (1,)'"),
        (lambda: fit(ordering=lambda key, epoch, n: [[0], 1]), f"{ORDERED}, got [[0], 1]"),
        (lambda: fit(ordering=lambda key, epoch, n: [1]), f"{WITHIN}, got '1..1'"),
        (lambda: fit(ordering=lambda key, epoch, n: jnp.array([-1])), f"{WITHIN}, got '-1..-1'"),
        (lambda: fit(folder=""), "path must be a folder or free for one, got ''"),
        (lambda: fit(key=3), f"key must be {A_KEY}, got 3"),
        (lambda: fit(epochs=1), "steps and epochs must be given one without the other, got (1, 1)"),
        (lambda: fit(steps=None), "steps and epochs must be given one without the other, got (None, None)"),
        (lambda: fit(steps=0), "steps must be a whole number of at least 1, got 0"),
        (lambda: fit(steps=None, epochs=1.5), "epochs must be a whole number of at least 1, got 1.5"),
        (
            lambda: fit(how=method("ZO-FT", {"base": 1.0}, differences=differences(1e-30))),
            "radius must be at least 7.45e-09, half the spacing of float32 at the base's weights, got 1e-30",
        ),
        (lambda: fit(batch_size=0), "batch_size must be a whole number of at least 1, got 0"),
        (lambda: fit(devices=2.0), "devices must be a whole number of at least 1, got 2.0"),
        (lambda: fit(devices=1, shard="half"), "shard must be one of 'data', 'full', got 'half'"),
        (lambda: fit(batch_size=2), "batch_size must be at most the number of examples, 1, got 2"),
        (lambda: fit(every=0), "every must be a whole number of at least 1, got 0"),
        (lambda: fit(dev=[ONE]), f"dev must be Questions, as encode makes, or None, got [{ONE!r}]"),
        (lambda: fit(folder="setup.py/" if False else __file__), f"path must be a folder or free for one, got {__file__!r}"),
        (lambda: fit(params={"peft": 1}), "params must have the labels of the problem ['base'], got ['peft']"),
        (
            lambda: fit(params={"base": jnp.ones(3, jnp.float32)}),
            "params['base'] must be of the problem's shapes and types, got ((3,), 'float32')",
        ),
        (lambda: fit(progress=1), "progress must be True or False, got 1"),
    ],
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
        (
            lambda: tasks.sample(POOLS, dev=4),
            "dev must be less than the 4 official training examples (default: 100), got 4",
        ),
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
    "word_tokenizer": [
        (lambda: word_tokenizer(["two words"]), f"words must be {WORDS}, got 'two words'"),
        (lambda: word_tokenizer(["Yes"]), f"words must be {WORDS}, got 'Yes'"),
        (lambda: word_tokenizer(["\n"]), f"words must be {WORDS}, got '\\n'"),
        (lambda: word_tokenizer([3]), f"words must be {WORDS}, got 3"),
        (lambda: word_tokenizer(["a", "b", "a"]), "words must be distinct, got ['a']"),
    ],
    "codec": [
        (lambda: codec(3), f"tokenizer must be {RULE}, got 3"),
        (lambda: codec("words"), f"tokenizer must be {RULE}, got 'words'"),
        (lambda: codec(TOKENIZER, pad=2**31), f"pad must be a whole number below 2^31, got {2**31}"),
        (lambda: codec(TOKENIZER, start=2), "start must be a sequence of token ids, got 2"),
        (lambda: codec(TOKENIZER, start="2"), "start must be a sequence of token ids, got '2'"),
        (lambda: codec(TOKENIZER, start=[-1]), "start[0] must be a whole number of at least 0, got -1"),
        (lambda: codec(TOKENIZER, pad=1.0), "pad must be a whole number of at least 0, got 1.0"),
    ],
    "encode": [
        (lambda: encode([], TOKENIZER), f"examples must be {EXAMPLES}, got []"),
        (lambda: encode(["a"], TOKENIZER), f"examples must be {EXAMPLES}, got ['a']"),
        (lambda: encode([ONE, THREE], TOKENIZER), "examples must be of one number of options, got 'numbers [2, 3]'"),
        (lambda: encode([ONE], TOKENIZER, multiple=2**31), f"multiple must be a whole number below 2^20, got {2**31}"),
        (lambda: encode([ONE], TOKENIZER, side="middle"), "side must be one of 'left', 'right', got 'middle'"),
        (lambda: encode([ONE], TOKENIZER, multiple=0), "multiple must be a whole number of at least 1, got 0"),
        (lambda: encode([ONE], TOKENIZER, length=1), "length must be a whole number of at least 2, got 1"),
        (lambda: encode([ONE], TOKENIZER, length=2), f"length must be at least 3 for example 'a', {LONGEST}, got 2"),
        (
            lambda: encode([example("e", "is it ?", ["yes", " "], 0)], TOKENIZER),
            "options[1] of example 'e' must be a text that adds a token to one or more of its prompt, got ' '",
        ),
        (
            lambda: encode([example("e", " ", ["yes", "no"], 0)], TOKENIZER, start=[]),
            "options[0] of example 'e' must be a text that adds a token to one or more of its prompt, got 'yes'",
        ),
    ],
    "answers": [
        (lambda: answers(3, QUESTIONS), "logits_of must be a function of tokens and present, got 3"),
        (lambda: answers(len, [ONE]), f"questions must be Questions, as encode makes, got [{ONE!r}]"),
        (lambda: answers(len, QUESTIONS, batch_size=0), "batch_size must be a whole number of at least 1, got 0"),
        (lambda: answers(lambda t, p: jnp.zeros((32, 9)), QUESTIONS), f"the logits must be {SHAPE}, got 'shape (32, 9)'"),
        (
            lambda: answers(lambda t, p: jnp.zeros((32, 4, 9)), QUESTIONS),
            f"the logits must be {SHAPE}, got 'shape (32, 4, 9)'",
        ),
    ],
    "baselines": [
        (lambda: baselines.majority([], [ONE]), f"train must be {EXAMPLES}, got []"),
        (lambda: baselines.majority([ONE], 3), f"test must be {EXAMPLES}, got 3"),
        (lambda: baselines.bag_of_words([ONE], []), f"test must be {EXAMPLES}, got []"),
        (
            lambda: baselines.bag_of_words([ONE], [THREE]),
            "train and test must be of one number of options, got 'numbers [2, 3]'",
        ),
        (lambda: baselines.bag_of_words([ONE], [ONE], l2=0), "l2 must be positive and finite, got 0"),
        (lambda: baselines.bag_of_words([ONE], [ONE], l2=NAN), "l2 must be positive and finite, got nan"),
    ],
    "text": [
        (lambda: text.documents("/nowhere"), "paths must be text files or folders, got '/nowhere'"),
        (lambda: text.documents(""), "paths must be text files or folders, got ''"),
        (lambda: text.documents([3]), "paths must be text files or folders, got 3"),
        (lambda: text.documents(3), "paths must be text files or folders, got 3"),
        (
            lambda: text.documents("tests/doors"),
            "paths must be files, or folders with files named .txt, .txt.gz, .txt.xz, got 'tests/doors'",
        ),
        (lambda: text.documents("tests", separator=""), "separator must be a non-empty text, got ''"),
        (lambda: text.pack(["is"], TOKENIZER, 0), "length must be a whole number of at least 1, got 0"),
        (
            lambda: text.pack(["is it"], TOKENIZER, 4),
            "texts must be documents of at least 4 tokens together, got '3 tokens'",
        ),
        (lambda: text.pack([], TOKENIZER, 4), "texts must be documents of at least 4 tokens together, got '0 tokens'"),
        (lambda: text.pack(["is"], TOKENIZER, 4, end=-1), "end must be a whole number of at least 0, got -1"),
        (lambda: text.pack(["is"], 3, 4), f"tokenizer must be {RULE}, got 3"),
    ],
    "corpus": [
        (lambda: language.corpus(3, 1), f"key must be {A_KEY}, got 3"),
        (lambda: language.corpus(KEY, 0), "number must be a whole number of at least 1, got 0"),
        (lambda: language.corpus(KEY, 2**31), f"number must be a whole number below 2^20, got {2**31}"),
        (lambda: language.corpus(KEY, 1, split="test"), "split must be one of 'train', 'validation', got 'test'"),
        (lambda: language.world(3), f"key must be {A_KEY}, got 3"),
    ],
    "task": [
        (
            lambda: language.task("sentiments", KEY),
            f"name must be one of {', '.join(map(repr, language.TASKS))}, got 'sentiments' (did you mean 'sentiment'?)",
        ),
        (lambda: language.task("blank", 3), f"key must be {A_KEY}, got 3"),
        (lambda: language.task("blank", KEY, train=0), "train must be a whole number of at least 1, got 0"),
        (lambda: language.task("blank", KEY, train=2**31), f"train must be a whole number below 2^20, got {2**31}"),
        (lambda: language.task("blank", KEY, dev=0), "dev must be a whole number of at least 1, got 0"),
        (lambda: language.task("blank", KEY, test=1.5), "test must be a whole number of at least 1, got 1.5"),
        (lambda: language.task("blank", KEY, corpus_key=3), f"corpus_key must be {A_KEY}, got 3"),
        (lambda: language.task("old_knowledge", KEY, corpus_key=3), f"corpus_key must be {A_KEY}, got 3"),
        (lambda: language.task("new_knowledge", KEY, train=385), "train must be at most 384 for 'new_knowledge', got 385"),
        (lambda: language.task("old_knowledge", KEY, test=129), "test must be at most 128 for 'old_knowledge', got 129"),
    ],
    "pretrain": [
        (
            lambda: Settings(architecture="gpt"),
            "architecture must be one of 'opt', 'llama', got 'gpt' (did you mean 'opt'?)",
        ),
        (lambda: Settings(precision="float16"), f"precision must be {PRECISION}"),
        (lambda: Settings(stored="int8"), "stored must be one of 'float16', 'bfloat16', 'float32', got 'int8'"),
        (lambda: Settings(heads=5), "heads must be a divisor of the width, 96, got 5"),
        (lambda: Settings(kv_heads=2), "kv_heads must be 0 for an opt, which has as many as heads, got 2"),
        (
            lambda: Settings(architecture="llama", kv_heads=3),
            "kv_heads must be a divisor of the heads, 4, got 3",
        ),
        (lambda: Settings(context=1), "context must be a whole number of at least 2, got 1"),
        (
            lambda: Settings(end="</d>"),
            "end must be left out without text, whose documents it would stand between, got '</d>'",
        ),
        (lambda: Settings(documents=2**31), f"documents must be a whole number below 2^20, got {2**31}"),
        (lambda: Settings(layers=2**31), f"layers must be a whole number below 2^20, got {2**31}"),
        (lambda: Settings(steps=2**31), f"steps must be a whole number below 2^31, got {2**31}"),
        (lambda: Settings(steps=0), "steps must be a whole number of at least 1, got 0"),
        (lambda: Settings(batch_size=1.0), "batch_size must be a whole number of at least 1, got 1.0"),
        (lambda: Settings(seed=-1), "seed must be a whole number of at least 0, got -1"),
        (lambda: Settings(seed=2**32), "seed must be a whole number from 0 to 2^32 - 1, got 4294967296"),
        (lambda: Settings(learning_rate=0), "learning_rate must be positive and finite, got 0"),
        (lambda: Settings(weight_decay=-1.0), "weight_decay must be nonnegative and finite, got -1.0"),
        (lambda: Settings(text="a.txt"), "text and tokenizer must be given together, or neither, got ('a.txt', None)"),
        (
            lambda: blocks_of(Settings(text="a.txt", tokenizer="none.json")),
            "tokenizer must be a tokenizer.json, got 'none.json'",
        ),
        (
            lambda: blocks_of(Settings(documents=3)),
            "the training text must be at least a batch of 32 blocks, got '1 blocks'",
        ),
        (lambda: pretrain("pyproject.toml", SETTINGS), "path must be a folder or free for one, got 'pyproject.toml'"),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_refusals(call, message):
    check_refusal(call, message)


@pytest.mark.parametrize("sizes", [{"layers": 2**20 - 1, "width": 2**12}, {"batch_size": 2**20 - 1, "context": 2**14}])
def test_a_model_or_batch_beyond_the_memory_is_refused_at_the_door(sizes, tmp_path):
    rule = r"^settings must be of a model and batches that fit in the memory there is, \S+ bytes, got 'at least \S+ bytes'$"
    with pytest.raises(ValueError, match=rule):
        pretrain(tmp_path / "out", Settings(**sizes))
    assert not (tmp_path / "out").exists()
