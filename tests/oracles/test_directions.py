"""Directions of many leaves: drawn together or alone, they are the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.oracles import directions

LIKE = {
    "a": jnp.zeros((3, 4), jnp.float32),
    "b": jnp.zeros(12, jnp.float32),
    "c": jnp.zeros((2, 6), jnp.float64),
    "d": jnp.zeros(5, jnp.float32),
    "e": jnp.zeros((), jnp.float32),
    "f": jnp.zeros((4, 3), jnp.float64),
}


@pytest.mark.parametrize("law", ["gaussian", "rademacher"])
def test_leaves_of_one_size_are_drawn_together_as_each_alone(law: directions.Law) -> None:
    key = jax.random.key(7)
    drawn = directions.draw(key, LIKE, law, (2, 3))
    for own, leaf, found in zip(jax.random.split(key, len(LIKE)), LIKE.values(), drawn.values(), strict=True):
        alone = directions.numbers(own, 6 * leaf.size, law, leaf.dtype)
        assert found.dtype == leaf.dtype
        assert found.shape == (2, 3, *leaf.shape)
        eps = 4 * float(jnp.finfo(leaf.dtype).eps)
        np.testing.assert_allclose(np.ravel(found), alone, rtol=eps, atol=eps)


def test_leaves_of_one_size_are_independent() -> None:
    drawn = directions.draw(jax.random.key(0), {name: jnp.zeros(4096) for name in "abc"}, "gaussian", ())
    correlations = np.corrcoef(np.stack(list(drawn.values())))[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 5 / 4096**0.5


def test_so_many_leaves_of_one_size_make_one_piece_of_program() -> None:
    draws = lambda leaves: str(
        jax.make_jaxpr(lambda key: directions.draw(key, [jnp.zeros(8)] * leaves, "gaussian", ()))(jax.random.key(0))
    ).count("random_bits")
    assert draws(9) == draws(2)
