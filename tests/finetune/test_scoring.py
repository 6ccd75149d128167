"""From logits to answers, against probabilities computed by hand and against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.finetune import baselines, scoring
from theory_lab.finetune.encoding import encode
from theory_lab.finetune.tasks import example
from theory_lab.finetune.tokens import word_tokenizer

TOKENIZER = word_tokenizer(["it", "was", "great", "bad", "very"])
V = len(TOKENIZER)
EXAMPLES = [
    example("a", "it was", [" bad", " great"], 1),
    example("b", "very very", [" bad", " very great"], 0),
    example("c", "it", [" was very very bad", " was"], 1),
]


def logits_of(tokens, present):
    """Logits that depend on the token before and on whether it is there; padding must not matter to what is scored."""
    table = jax.random.normal(jax.random.key(3), (V, V))
    return jnp.where(present[..., None], table[tokens], 1e3)


def by_hand(one):
    table = np.asarray(jax.random.normal(jax.random.key(3), (V, V)), np.float64)
    log_p = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
    scores = []
    for prompt, option in zip(one.prompts, one.options, strict=True):
        before, after = [2, *TOKENIZER.encode(prompt)], TOKENIZER.encode(option)
        path = [*before, *after]
        scores.append(np.mean([log_p[path[i - 1], path[i]] for i in range(len(before), len(path))]))
    return scores


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_scores_are_mean_log_probabilities_whatever_padding_and_batches(side, batch_size):
    questions = encode(EXAMPLES, TOKENIZER, side=side, multiple=5)
    answers = scoring.answers(logits_of, questions, batch_size=batch_size)
    expected = np.array([by_hand(one) for one in EXAMPLES])
    np.testing.assert_allclose(answers.scores, expected, rtol=1e-10)
    assert answers.predicted.tolist() == expected.argmax(axis=1).tolist()
    assert answers.correct.tolist() == (expected.argmax(axis=1) == [1, 0, 1]).tolist()
    assert answers.correct.dtype == np.bool_


def test_what_is_scored_is_among_the_last():
    for side, multiple in (("left", 1), ("left", 5), ("right", 5)):
        options = encode(EXAMPLES, TOKENIZER, side=side, multiple=multiple).options
        last = scoring.last_scored(options)
        assert options.scored[..., -last:].sum() == options.scored.sum()
        assert options.scored[..., -last].any()
        assert side == "right" or last == 4  # " was very very bad"


def test_the_callback_is_compiled_once():
    shapes = []

    @jax.jit
    def counted(tokens, present):
        shapes.append(tokens.shape)  # runs while tracing only
        return logits_of(tokens, present)

    scoring.answers(counted, encode(EXAMPLES, TOKENIZER), batch_size=4)
    assert shapes == [(4, shapes[0][1])]


def scores(logits, sequences):
    tokens, scored = jnp.asarray(sequences.tokens), jnp.asarray(sequences.scored)
    return scoring.option_scores(scoring.token_log_probs(logits, tokens), scored)


def test_the_score_of_one_sequence_or_many_is_the_mean_log_probability_of_what_is_scored():
    right = encode(EXAMPLES, TOKENIZER).right
    expected = [by_hand(one)[one.label] for one in EXAMPLES]
    np.testing.assert_allclose(scores(logits_of(right.tokens, right.present), right), expected, rtol=1e-10)
    first = jax.tree.map(lambda a: jnp.asarray(a)[0], right)
    single = scores(logits_of(first.tokens, first.present), first)
    assert single.shape == ()
    np.testing.assert_allclose(single, expected[0], rtol=1e-10)


def test_a_score_pulls_on_nothing_but_what_is_scored():
    right = encode(EXAMPLES[:1], TOKENIZER, multiple=8).right
    pulled = jax.grad(lambda logits: jnp.sum(scores(logits, right)))(jnp.zeros((*right.tokens.shape, V)))
    before_scored = np.roll(right.scored, -1, axis=-1)
    assert (np.abs(pulled).sum(axis=-1) > 0).tolist() == before_scored.tolist()


@pytest.mark.parametrize(
    "dtype, wide", [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float32), (jnp.float64, jnp.float64)]
)
def test_log_probabilities_are_float32_or_wider(dtype, wide):
    tokens = jnp.array([[1, 2, 3]])
    log_probs = scoring.token_log_probs(jnp.zeros((1, 3, V), dtype), tokens)
    assert log_probs.dtype == wide
    np.testing.assert_allclose(log_probs, [[0, -np.log(V), -np.log(V)]], rtol=1e-6)


def test_equal_scores_go_to_the_first_option_and_broken_ones_to_none():
    questions = encode(EXAMPLES, TOKENIZER)
    even = scoring.answers(lambda tokens, present: jnp.zeros((*tokens.shape, V)), questions)
    assert even.predicted.tolist() == [0, 0, 0]
    broken = scoring.answers(lambda tokens, present: jnp.full((*tokens.shape, V), jnp.nan), questions)
    assert broken.predicted.tolist() == [-1, -1, -1]
    assert not broken.correct.any()


def film(adjective, label, id="a"):
    return example(id, f"a {adjective} film . it was", [" bad", " good"], label)


def test_majority_is_that_of_train():
    train = [film("dull", 0), film("dull", 0), film("warm", 1)]
    assert baselines.majority(train, [film("x", 0), film("x", 1)]).tolist() == [True, False]
    assert baselines.majority(train[1:], [film("x", 0), film("x", 1)]).tolist() == [True, False]  # a tie: the smaller label


def test_a_unigram_classifier_learns_words_of_prompts_and_of_options():
    train = [film("dull", 0), film("silly", 0), film("warm", 1), film("fresh", 1)]
    assert baselines.bag_of_words(train, train[::-1]).all()
    swapped = lambda word, label: example("a", "which ?", [" stone", f" {word}"] if label else [f" {word}", " stone"], label)
    train = [swapped(word, label) for word in ("bread", "cheese") for label in (0, 1)]
    assert baselines.bag_of_words(train, train).all()


def test_a_unigram_classifier_is_blind_to_order():
    orders = [example("a", f"{a} chased {b} . did {a} run ?", ["yes", "no"], label)
              for a, b, label in [("tom", "ida", 0), ("ida", "tom", 1)] for _ in range(9)]  # fmt: skip
    assert baselines.bag_of_words(orders, orders).mean() == 0.5


def test_a_unigram_classifier_is_logistic_regression():
    """Two options, the prompt's words alone: the weights are those of scikit-learn on the same features."""
    linear = pytest.importorskip("sklearn.linear_model", reason="needs the extra 'data'")
    rng = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(12)]
    present = rng.random((60, 12)) < 0.4
    labels = (present[:, :3].sum(axis=1) + rng.normal(size=60) > 1.2).astype(int)
    examples = [
        example(
            "a", "z " + " ".join(w for w, there in zip(vocabulary, row, strict=True) if there), ["no", "yes"], int(label)
        )
        for row, label in zip(present, labels, strict=True)
    ]
    # Two weights of opposite sign share the penalty: lambda on each is lambda/2 on their difference. The constant words
    # z, no and yes make an intercept, penalised like the other words.
    features = np.column_stack([present, np.ones(60)])
    theirs = linear.LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10).fit(features[:40], labels[:40])
    expected = theirs.predict(features[40:]) == labels[40:]
    got = baselines.bag_of_words(examples[:40], examples[40:])
    margins = np.abs(theirs.decision_function(features[40:]))
    np.testing.assert_array_equal(got[margins > 0.2], expected[margins > 0.2])
    assert (margins > 0.2).sum() > 12
