"""Official files: prompts word for word, samples, and everything that can be wrong with a file."""

import json

import jax
import pytest

from tests.finetune import released
from theory_lab.finetune import tasks
from theory_lab.finetune.tasks import Example, Pools, official

names = pytest.mark.parametrize("name", sorted(released.FILES))

FIRST = {
    "sst2": ("a charming and often touching journey . It was", (" terrible", " great"), 1),
    "rte": ('No rain fell in May.\nDoes this mean that "Rain fell in May." is true? Yes or No?\n', ("Yes", "No"), 1),
    "wsc": (
        "Ann thanked Sue because she had helped.\n"
        'In the previous sentence, does the pronoun "she" refer to Sue? Yes or No?\n',
        ("Yes", "No"),
        0,
    ),
    "wic": (
        'Does the word "bank" have the same meaning in these two sentences? Yes, No?\nA bank of sand.\nHe robbed a bank.\n',
        ("Yes", "No"),
        1,
    ),
    "copa": ("The glass fell so", (" it broke.", " it sang."), 0),
}
SECOND = {"copa": ("My coat was wet because", (" it was blue.", " I'd walked in the rain."), 1)}


@pytest.mark.parametrize("name", sorted(FIRST))
def test_prompts_are_those_of_the_papers(tmp_path, name):
    pools = tasks.read(name, released.write(tmp_path, name))
    for expected, number in ((FIRST[name], 0), (SECOND.get(name), 1)):
        if expected:
            prompt, options, label = expected
            got = pools.train[number]
            assert (got.prompts, got.options, got.label) == ((prompt, prompt), options, label)
    file = released.FILES[name][0]
    offset = 2 if name == "sst2" else 1
    assert [one.id for one in pools.train] == [f"{file}:{offset + i}" for i in range(len(pools.train))]


def test_winogrande_scores_what_follows_the_blank_or_from_the_blank_on(tmp_path):
    folder = released.write(tmp_path, "winogrande")
    after, start = tasks.read("winogrande", folder), tasks.read("winogrande", folder, scored=official.FROM_BLANK)
    assert after.scored == "what follows the blank"
    assert start.scored == "the option and what follows the blank"
    opening = "Ann was taller than Sue so"
    expected = Example("train_xl.jsonl:1", (f"{opening} Ann", f"{opening} Sue"), (" took the top shelf.",) * 2, 0)
    assert after.train[0] == expected
    assert start.train[0].prompts == (opening, opening)
    assert start.train[0].options == (" Ann took the top shelf.", " Sue took the top shelf.")
    for one, other in zip(after.train, start.train, strict=True):  # the same texts, cut in two places
        texts = [[p + o for p, o in zip(e.prompts, e.options, strict=True)] for e in (one, other)]
        assert texts[0] == texts[1]


def test_the_largest_winogrande_is_read_unless_one_is_named(tmp_path):
    released.write(tmp_path, "winogrande")
    (tmp_path / "train_s.jsonl").write_text(released.text("winogrande", released.ROWS["winogrande"][:1]))
    assert len(tasks.read("winogrande", tmp_path).train) == 2
    assert len(tasks.read("winogrande", tmp_path, size="s").train) == 1
    (tmp_path / "train_xl.jsonl").unlink()
    assert len(tasks.read("winogrande", tmp_path).train) == 1


@names
def test_byte_order_mark_windows_line_ends_blank_lines_and_unicode(tmp_path, name):
    (tmp_path / "plain").mkdir()
    plain = tasks.read(name, released.write(tmp_path / "plain", name))
    lines = released.text(name).rstrip("\n").split("\n")
    spoiled = ("\ufeff" + "\r\n".join(lines) + "\r\n\r\n").encode()
    assert tasks.read(name, released.write(tmp_path, name, train=spoiled, validation=spoiled[3:-4])) == plain


def test_line_separators_of_unicode_do_not_end_a_row(tmp_path):
    rows = [{**released.ROWS["rte"][0], "premise": "one\u2028two\x85three\x0cfour"}]
    content = json.dumps(rows[0], ensure_ascii=False).encode()
    pools = tasks.read("rte", released.write(tmp_path, "rte", train=content))
    assert pools.train[0].prompts[0].startswith("one\u2028two\x85three\x0cfour\n")


@names
@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_file_is_named(tmp_path, name, which):
    released.write(tmp_path, name)
    file = released.FILES[name][which]
    (tmp_path / file).unlink()
    first, second = released.FILES[name]
    rule = f"folder must be a folder with {first} and {second}, got '{tmp_path}' without {file}"
    with pytest.raises(ValueError, match=f"^{rule}$"):
        tasks.read(name, tmp_path)


@names
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\r\n\n"], ids=["empty", "only a mark", "blank"])
def test_an_empty_file_is_refused(tmp_path, name, content):
    rule = "the header must be 2 tab-separated" if name == "sst2" else "must be a file with at least one row, got none"
    with pytest.raises(ValueError, match=f"{released.FILES[name][0]}.*{rule}"):
        tasks.read(name, released.write(tmp_path, name, train=content))


def changed(name, **fields):
    return [*released.ROWS[name], {**released.ROWS[name][0], **fields}]


def without(name, key):
    return [*released.ROWS[name], {k: v for k, v in released.ROWS[name][0].items() if k != key}]


LABELS = 'label must be true or false or "true" or "false"'
BLANK = "sentence must be a text with one blank, _, between two words, got"
BAD = [
    ("rte", changed("rte", premise=" "), "premise must be a non-empty text, got ' '"),
    ("rte", changed("rte", hypothesis=3), "hypothesis must be a non-empty text, got 3"),
    ("rte", without("rte", "premise"), "premise must be a non-empty text, got None"),
    ("rte", without("rte", "label"), 'label must be "entailment" or "not_entailment", got None'),
    ("rte", changed("rte", label="contradiction"), 'label must be "entailment" or "not_entailment", got \'contradiction\''),
    ("rte", [*released.ROWS["rte"], ["a", "list"]], "the row must be a JSON object, got '[\"a\", \"list\"]'"),
    ("wsc", changed("wsc", label=1), f"{LABELS}, got 1"),
    ("wsc", changed("wsc", target="Sue"), "target must be a JSON object with span1_text and span2_text, got 'Sue'"),
    ("wsc", changed("wsc", target={"span1_text": "Sue"}), "span2_text must be a non-empty text, got None"),
    ("wic", changed("wic", word=""), "word must be a non-empty text, got ''"),
    ("wic", changed("wic", label=[True]), f"{LABELS}, got [True]"),
    ("copa", changed("copa", question="why"), 'question must be "cause" or "effect", got \'why\''),
    ("copa", changed("copa", label=2), "label must be 0 or 1, got 2"),
    ("copa", changed("copa", label=True), "label must be 0 or 1, got True"),
    ("winogrande", changed("winogrande", answer=""), 'answer must be "1" or "2", got \'\''),
    *(
        ("winogrande", changed("winogrande", sentence=s), f"{BLANK} '{s}'")
        for s in ("no blank", "_ and _ .", "_ came.", "it was _")
    ),
]  # fmt: skip


@pytest.mark.parametrize("name, rows, message", BAD)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, name, rows, message):
    released.write(tmp_path, name, validation=released.text(name, rows).encode())
    path = tmp_path / released.FILES[name][1]
    with pytest.raises(ValueError) as refused:
        tasks.read(name, tmp_path)
    assert str(refused.value) == f"{path} line 3: {message}"


HEADER = "line 1: the header must be 2 tab-separated fields (sentence, label), got"
SST2_BAD = [
    (b"sentence\tlabel\nfine film\t2\n", 'line 2: label must be "0" or "1", got \'2\''),
    (b"sentence\tlabel\nfine film\n", "line 2: the row must be 2 tab-separated fields (sentence, label), got 'fine film'"),
    (b"sentence\tlabel\na\tb\t1\n", "line 2: the row must be 2 tab-separated fields (sentence, label), got 'a\\tb\\t1'"),
    (b"sentence\tlabel\n\t\n", 'line 2: label must be "0" or "1", got \'\''),
    (b"sentence\tlabel\n \t1\n", "line 2: sentence must be a non-empty text, got ' '"),
    (b"sentence\tlabel\n\xff\xfe\t1\n", "line 2: the row must be UTF-8 text, got b'\\xff\\xfe\\t1'"),
    (b"label\tsentence\n1\tfine\n", f"{HEADER} b'label\\tsentence'"),
    (b"fine film\t1\n", f"{HEADER} b'fine film\\t1'"),
]  # fmt: skip


@pytest.mark.parametrize("content, message", SST2_BAD)
def test_a_bad_line_of_sst2(tmp_path, content, message):
    folder = tmp_path / "sst2"
    folder.mkdir()
    with pytest.raises(ValueError) as refused:
        tasks.read("sst2", released.write(folder, "sst2", train=content))
    assert str(refused.value).endswith(f"sst2/train.tsv {message}")


@pytest.mark.parametrize("content", [b"{", b"\x00", b'{"premise": "cut', b"[" * 100_000])
def test_lines_that_are_no_json(tmp_path, content):
    released.write(tmp_path, "rte", train=released.text("rte").encode() + content + b"\n")
    with pytest.raises(ValueError, match=r"train.jsonl line 3: the row must be a JSON object, got "):
        tasks.read("rte", tmp_path)


@pytest.mark.parametrize("row", ['{"premise": "a", "premise": "b"}', '{"x": [{"premise": 1, "premise": 2}]}'])
def test_a_field_that_stands_twice_is_refused_also_inside(tmp_path, row):
    released.write(tmp_path, "rte")
    path = tmp_path / "train.jsonl"
    path.write_text(f"{released.text('rte').splitlines()[0]}\n{row}\n")
    refused = r"train.jsonl line 2: the row must be a JSON object whose fields have different names, got \['premise'\]$"
    with pytest.raises(ValueError, match=refused):
        tasks.read("rte", tmp_path)


def test_all_bad_rows_are_counted(tmp_path):
    good = released.SST2[0]
    rows = [good, ("a", "2"), good, *(("b", "x") for _ in range(6))]
    released.write(tmp_path, "sst2", train=released.text("sst2", rows).encode())
    with pytest.raises(ValueError, match=r"line 3: label .* got '2' \(7 bad rows of 9: lines 3, 5, 6, 7, 8, \.\.\.\)$"):
        tasks.read("sst2", tmp_path)


def pools(train, validation):
    make = lambda n, where: tuple(tasks.example(f"{where}:{i}", "is it ?", ["Yes", "No"], i % 2) for i in range(n))
    return Pools("made", "the option", make(train, "train"), make(validation, "validation"))


OFFICIAL = [  # sizes of the releases -> train, dev, test under the defaults
    ((2490, 277), (1000, 100, 277)),
    ((554, 104), (454, 100, 104)),
    ((5428, 638), (1000, 100, 638)),
    ((400, 100), (300, 100, 100)),
    ((67349, 872), (1000, 100, 872)),
    ((40398, 1267), (1000, 100, 1000)),
]


@pytest.mark.parametrize("given, expected", OFFICIAL)
def test_samples_are_capped_by_the_official_sizes(given, expected):
    task = tasks.sample(pools(*given))
    assert tuple(task.sizes[split] for split in ("train", "dev", "test")) == expected


def test_a_sample_is_without_replacement_and_keeps_train_from_dev_and_test():
    task = tasks.sample(pools(300, 50), train=150, dev=100, test=40)
    ids = [one.id for split in (task.train, task.dev, task.test) for one in split]
    assert len(set(ids)) == 290
    assert all(one.id.startswith("validation") for one in task.test)
    assert all(one.id.startswith("train") for one in (*task.train, *task.dev))


def test_a_sample_is_a_function_of_its_key():
    source = pools(300, 50)
    same = [tasks.sample(source, jax.random.key(k), train=20) for k in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    assert tasks.sample(source) == tasks.sample(source, jax.random.key(0))
    longer = tasks.sample(source, jax.random.key(1), train=40)
    assert (longer.dev, longer.test, longer.train[:20]) == (same[0].dev, same[0].test, same[0].train)


def test_every_example_is_drawn_equally_often():
    """5 of 20, 800 times: the counts are 200 on average with variance 800 x 1/4 x 3/4."""
    source, counts = pools(20, 20), [0] * 20
    for seed in range(800):
        for one in tasks.sample(source, jax.random.key(seed), train=1, dev=0, test=5).test:
            counts[int(one.id.split(":")[1])] += 1
    assert sum((count - 200) ** 2 for count in counts) / (800 * 3 / 16 * 20 / 19) / 19 < 2.2  # chi-square(19)/19 at 0.998
