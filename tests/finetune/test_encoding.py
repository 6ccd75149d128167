"""Examples as token arrays: what is scored, where padding goes, what truncation takes; tokenizers of several kinds."""

import string
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theory_lab.finetune.encoding import batches, encode
from theory_lab.finetune.tasks import example
from theory_lab.finetune.tokens import WordTokenizer, codec, word_tokenizer

WORDS = ("it", "was", "great", "terrible", "so", "because", "rain", "fell", ".", "?")
TOKENIZER = word_tokenizer(WORDS)
REVIEW = example("a", "Rain fell . It was", [" terrible", " great"], 1)
LONG = example("b", "so so so so rain fell because", [" it was terrible .", " rain"], 0)
BLANK = example("c", ["rain so it", "rain because it"], [" was great ."] * 2, 1)


def rows(questions, k):
    """Per example the text that stands in option k and the text that is scored."""
    texts = []
    for tokens, present, scored in zip(
        *(np.asarray(a)[:, k] for a in (questions.options.tokens, questions.options.present, questions.options.scored)),
        strict=True,
    ):
        texts.append((TOKENIZER.decode(tokens[present]), TOKENIZER.decode(tokens[scored])))
    return texts


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_options_tokens_are_scored_and_nothing_else(side):
    questions = encode([REVIEW, LONG, BLANK], TOKENIZER, side=side)
    assert rows(questions, 0) == [
        ("rain fell . it was terrible", "terrible"),
        ("so so so so rain fell because it was terrible .", "it was terrible ."),
        ("rain so it was great .", "was great ."),
    ]
    assert rows(questions, 1)[1:] == [
        ("so so so so rain fell because rain", "rain"),
        ("rain because it was great .", "was great ."),
    ]
    assert questions.labels.tolist() == [1, 0, 1]
    assert questions.truncated == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_on_one_side_and_every_sequence_opens_with_the_start(side):
    questions = encode([REVIEW, LONG], TOKENIZER, side=side, multiple=8)
    tokens, present = questions.options.tokens.reshape(4, -1), questions.options.present.reshape(4, -1)
    assert tokens.shape == (4, 16)  # the longest has 1 + 7 + 4 tokens
    lengths = present.sum(axis=1)
    assert lengths.tolist() == [7, 7, 12, 9]
    for row, there, length in zip(tokens, present, lengths, strict=True):
        edge = 16 - length if side == "left" else 0
        assert there.tolist() == [edge <= i < edge + length for i in range(16)]
        assert row[edge] == TOKENIZER.start[0]
        assert (row[~there] == TOKENIZER.pad).all()


def test_the_right_options_are_what_training_sees():
    questions = encode([REVIEW, LONG, BLANK], TOKENIZER)
    right = questions.right
    for i, one in enumerate((REVIEW, LONG, BLANK)):
        for name in ("tokens", "present", "scored"):
            np.testing.assert_array_equal(getattr(right, name)[i], getattr(questions.options, name)[i, one.label])
    on_device = jax.tree.map(jax.numpy.asarray, questions)  # a pytree, also inside jit
    index = jax.numpy.asarray(1)
    np.testing.assert_array_equal(jax.jit(lambda q, i: q.right[i].tokens)(on_device, index), right.tokens[1])


def test_truncation_takes_the_beginning_of_the_prompt_alike_for_all_options():
    questions = encode([LONG, REVIEW], TOKENIZER, length=8)
    assert questions.truncated == 1
    assert [whole for whole, _ in rows(questions, 0)] == [
        "rain fell because it was terrible .",
        "rain fell . it was terrible",
    ]
    assert rows(questions, 1)[0][0] == "rain fell because rain"  # no more of the prompt than the longer option leaves


@given(length=st.integers(6, 20), side=st.sampled_from(["left", "right"]))
@settings(max_examples=30, deadline=None)
def test_truncation_never_touches_start_or_option(length, side):
    whole = encode([REVIEW, LONG, BLANK], TOKENIZER)
    cut = encode([REVIEW, LONG, BLANK], TOKENIZER, length=length, side=side)
    assert cut.options.tokens.shape[-1] <= length
    for k in (0, 1):
        for (before, option), (after, same) in zip(rows(whole, k), rows(cut, k), strict=True):
            assert option == same
            assert before.endswith(after)
            assert len(after.split()) >= len(option.split()) + 1
    assert (cut.options.tokens == TOKENIZER.start[0]).sum(axis=-1).tolist() == [[1, 1]] * 3
    assert cut.truncated == sum(
        any(a != b for a, b in zip(x, y, strict=True))
        for x, y in zip(
            zip(rows(whole, 0), rows(whole, 1), strict=True), zip(rows(cut, 0), rows(cut, 1), strict=True), strict=True
        )
    )


class Merging:
    """A tokenizer whose tokens run over the boundary: pairs of characters, so that a longer text is cut otherwise."""

    def encode(self, text):
        return SimpleNamespace(ids=[hash_free(text[i : i + 2]) for i in range(0, len(text), 2)])

    def decode(self, ids):
        return "".join(chr(i // 1000) + (chr(i % 1000) if i % 1000 else "") for i in ids)


def hash_free(pair):
    return ord(pair[0]) * 1000 + (ord(pair[1]) if len(pair) == 2 else 0)


def test_a_token_that_spans_prompt_and_option_is_scored():
    one = example("a", "abc", ["def", "xyz"], 0)
    questions = encode([one], Merging())
    assert Merging().decode(questions.options.tokens[0, 0]) == "abcdef"
    assert Merging().decode(questions.options.tokens[0, 0][questions.options.scored[0, 0]]) == "cdef"
    assert Merging().decode(questions.options.tokens[0, 1][questions.options.scored[0, 1]]) == "cxyz"


@pytest.fixture
def theirs():
    """Our tokenizer, read by the library ``tokenizers``."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'lm'")
    return tokenizers.Tokenizer.from_str(TOKENIZER.to_json())


@given(text=st.text(string.printable))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tokenizer_file_gives_the_same_ids(theirs, text):
    for one in (text, f"It was GREAT.{text}\nso {text} rain?"):
        if not any(special in one for special in TOKENIZER.words[:4]):
            assert theirs.encode(one).ids == TOKENIZER.encode(one)


def test_a_tokenizer_of_the_library_tokenizers(theirs):
    processors = pytest.importorskip("tokenizers.processors", reason="needs the extra 'lm'")
    theirs.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    assert theirs.encode("it was").ids[0] == 2  # by itself it would open twice
    ours = encode([REVIEW, LONG], TOKENIZER)
    same = encode([REVIEW, LONG], theirs, start=[2], pad=1)
    np.testing.assert_array_equal(same.options.tokens, ours.options.tokens)
    np.testing.assert_array_equal(same.options.scored, ours.options.scored)


def test_batches_have_one_shape_and_count_every_row_once():
    sequences = encode([REVIEW, LONG, BLANK], TOKENIZER).right
    for size in (1, 2, 3, 5):
        found = list(batches(sequences, size))
        assert all(batch.tokens.shape == (size, sequences.tokens.shape[1]) for batch, _ in found)
        kept = np.concatenate([batch.tokens[:counted] for batch, counted in found])
        np.testing.assert_array_equal(kept, sequences.tokens)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_is_encoded_and_known_text_comes_back(text):
    ids = TOKENIZER.encode(text)
    assert all(0 <= i < len(TOKENIZER) for i in ids)
    again = TOKENIZER.decode(ids)
    assert TOKENIZER.decode(TOKENIZER.encode(again.replace("<unk>", "snow"))) == again


def test_words_spaces_and_line_breaks_come_back():
    assert isinstance(TOKENIZER, WordTokenizer)
    assert TOKENIZER.encode("It was GREAT.") == [4, 5, 6, 12]
    assert TOKENIZER.decode(TOKENIZER.encode("  rain   fell.\nso it was ?\n")) == "rain fell .\nso it was ?\n"
    assert TOKENIZER.decode([2, 4, 1, 1, 3]) == "it <unk>"


def test_start_and_pad_come_from_the_tokenizer_unless_given():
    assert (codec(TOKENIZER).start, codec(TOKENIZER).pad) == ((2,), 1)
    assert (codec(TOKENIZER, start=[0, 7], pad=9).start, codec(TOKENIZER, pad=9).pad) == ((0, 7), 9)
    assert (codec(Merging()).start, codec(Merging()).pad) == ((), 0)
