"""What advice makes of a sample of the components."""

import itertools

import numpy as np
import pytest

from theory_lab.advise.looking import centred


@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_variance_of_a_sample_is_that_of_all_on_average(m):
    """Over every sample of m of n without replacement: an identity, of gradients and of Hessians."""
    n = 5
    rng = np.random.default_rng(m)
    for shape in ((3,), (2, 2)):
        parts = rng.standard_normal((n, *shape)) + 10.0
        expected = np.mean((parts - parts.mean(axis=0)) ** 2, axis=0)
        every = [np.mean(centred(parts[list(chosen)], n) ** 2, axis=0) for chosen in itertools.combinations(range(n), m)]
        np.testing.assert_allclose(np.mean(every, axis=0), expected, rtol=1e-10)


def test_one_component_has_no_variance():
    assert centred(np.ones((1, 3)), 1).tolist() == [[0.0, 0.0, 0.0]]
