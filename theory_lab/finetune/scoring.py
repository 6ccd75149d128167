"""From logits to answers: log-probabilities of tokens, scores of options, predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array
from theory_lab.finetune.encoding import Questions, Sequences, batches

Logits = Callable[[Array, Array], Array]  # (tokens (B, T), present (B, T)) -> logits (B, T, V)


@dataclass(frozen=True)
class Answers:
    """What a model answers to n questions.

    Attributes:
        scores: (n, K) mean log-probabilities of the options.
        predicted: (n,) the option with the highest score, the first of equal ones; -1 where a score is not finite.
        correct: (n,) bool, what `theory_lab.measure.accuracy` takes.
    """

    scores: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray


def token_log_probs(logits: Array, tokens: Array) -> Array:
    """log p(token t | tokens before t), (..., T), in float32 or wider; 0 for the first token, which nothing predicts.

    Args:
        logits: (..., T, V); those at t predict token t + 1.
        tokens: (..., T).
    """
    wide = logits[..., :-1, :].astype(jnp.promote_types(logits.dtype, jnp.float32))
    chosen = jnp.take_along_axis(wide, tokens[..., 1:, None], axis=-1)[..., 0]
    log_probs = chosen - jax.nn.logsumexp(wide, axis=-1)
    return jnp.concatenate([jnp.zeros_like(log_probs[..., :1]), log_probs], axis=-1)


def option_scores(log_probs: Array, scored: Array) -> Array:
    """The mean log-probability of the scored tokens, (...,) from (..., T) and (..., T).

    The mean and not the sum: options of different lengths compete.
    """
    return jnp.sum(jnp.where(scored, log_probs, 0.0), axis=-1) / jnp.sum(scored, axis=-1)


def last_scored(sequences: Sequences) -> int:
    """How many tokens at the end hold all that are scored, (..., T) -> at most T - 1; of left-padded texts but a few.

    Example:
        >>> scored = np.array([[False, False, False, True], [False, False, True, True]])
        >>> last_scored(Sequences(np.zeros((2, 4), np.int32), np.ones((2, 4), np.bool_), scored))
        2
    """
    scored = np.asarray(sequences.scored)[..., 1:]
    return scored.shape[-1] - int(np.argmax(scored.any(axis=tuple(range(scored.ndim - 1)))))


def answers(logits_of: Logits, questions: Questions, *, batch_size: int = 32) -> Answers:
    """The option with the highest mean log-probability, for every question.

    With the base model this is the zero-shot baseline. ``logits_of`` is called with batches of one shape; jit it.

    Args:
        logits_of: (tokens (B, T), present (B, T)) -> logits (B, T, V).
        questions: as `encode` makes.
        batch_size: B, sequences at a time (every option is one).

    Raises:
        ValueError: logits of another shape.

    Example:
        >>> from theory_lab.finetune.encoding import encode
        >>> from theory_lab.finetune.tasks import example
        >>> from theory_lab.finetune.tokens import word_tokenizer
        >>> tokenizer = word_tokenizer(["it", "was", "great", "bad"])
        >>> questions = encode([example("a", "It was", [" bad", " great"], 1)], tokenizer)
        >>> likes_great = lambda tokens, present: jnp.zeros((*tokens.shape, 9)).at[..., 6].set(1.0)
        >>> answers(likes_great, questions).predicted.tolist()
        [1]
    """
    if not callable(logits_of):
        raise _checks.refuse("logits_of", "a function of tokens and present", logits_of)

    def scores_of(batch: Sequences) -> Array:
        logits = logits_of(jnp.asarray(batch.tokens), jnp.asarray(batch.present))
        if jnp.ndim(logits) != 3 or logits.shape[:2] != batch.tokens.shape:
            rule = f"of shape (batch, tokens, vocabulary), {(*batch.tokens.shape, 'V')}"
            raise _checks.refuse("the logits", rule, f"shape {jnp.shape(logits)}")
        return _scores(logits, batch.tokens, batch.scored)

    return judged(scores_of, questions, batch_size=batch_size)


def judged(scores_of: Callable[[Sequences], Array], questions: Questions, *, batch_size: int = 32) -> Answers:
    """The same, from a function that scores a batch of sequences itself, (B, T) -> (B,), without logits for it to hold."""
    _checks.instance("questions", questions, Questions, "Questions, as encode makes")
    _checks.count("batch_size", batch_size)
    n, options, width = np.shape(questions.options.tokens)
    flat = jax.tree.map(lambda a: np.asarray(a).reshape(n * options, width), questions.options)
    scores = [np.asarray(scores_of(batch))[:counted] for batch, counted in batches(flat, batch_size)]
    return _answers(np.concatenate(scores).reshape(n, options), np.asarray(questions.labels))


@jax.jit
def _scores(logits: Array, tokens: Any, scored: Any) -> Array:
    return option_scores(token_log_probs(logits, tokens), scored)


def _answers(scores: np.ndarray, labels: np.ndarray) -> Answers:
    finite = np.isfinite(scores).all(axis=1)
    predicted = np.where(finite, np.argmax(scores, axis=1), -1)
    return Answers(scores, predicted, predicted == labels)
