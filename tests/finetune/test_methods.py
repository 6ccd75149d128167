"""The radius of a method against the spacing of the weights that it moves."""

import jax.numpy as jnp
import pytest

from theory_lab.finetune.methods import method, refuse_lost
from theory_lab.models import perturb


@pytest.mark.parametrize("weights", [[0.0, 0.0], [jnp.nan, 1.0], [jnp.inf, 1.0], [3e38, 1.0]])
def test_weights_without_a_size_refuse_no_radius(weights):
    refuse_lost(
        method("ZO-FT", {"base": 1e-6}, differences=perturb.differences(1e-30)), {"base": jnp.array(weights, jnp.float32)}
    )


def test_a_radius_is_refused_below_half_the_spacing_of_the_weights():
    how = lambda radius: method("ZO-FT", {"base": 1e-6}, differences=perturb.differences(radius))
    weights = {"base": jnp.full(3, 1.5, jnp.float32)}  # between 1 and 2, where numbers are 2^-23 apart
    refuse_lost(how(2.0**-24), weights)
    with pytest.raises(
        ValueError, match=r"radius must be at least 5\.96e-08, half the spacing of float32 at the base's weights"
    ):
        refuse_lost(how(2.0**-25), weights)
    assert jnp.all(weights["base"] + jnp.float32(2.0**-25) == weights["base"])  # it would change nothing
