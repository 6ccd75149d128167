"""The calibrated model near its axes, where one block is almost at rest, against the average over all orders of an epoch."""

import numpy as np
import pytest

from tests.theory.exact import Instance, orthogonal
from theory_lab.theory.local import local
from theory_lab.theory.local_stability import boundary_scale, calibrated

ZEROTH, FIRST = 3, 2


def components(seed: int, levels: tuple[float, float], spread: float) -> np.ndarray:
    """Three coupled components of both blocks, whose curvatures differ by as much as is asked."""
    rng, d = np.random.default_rng(seed), ZEROTH + FIRST
    turn = orthogonal(rng, d)
    mean = 0.7 * np.eye(d) + 0.3 * (turn * np.linspace(0.1, 1, d)) @ turn.T
    apart = rng.standard_normal((3, d, d))
    apart = spread * (apart + apart.transpose(0, 2, 1)) / 2
    scale = np.sqrt(np.repeat(levels, [ZEROTH, FIRST]))
    return scale[:, None] * (mean + apart - apart.mean(axis=0)) * scale


def contracts(each: np.ndarray, etas: tuple[float, float]) -> bool:
    """Whether the mean over all orders of the map of second moments has a spectral radius below 1, from its matrix."""
    d = each.shape[1]
    instance = Instance(each, np.zeros((3, d)), ZEROTH, np.ones(d), etas)
    units = np.eye(d * d).reshape(-1, d, d)
    columns = [instance.epoch(np.zeros(d), (x + x.T) / 2)[1].ravel() for x in units]
    return bool(np.abs(np.linalg.eigvals(np.array(columns).T)).max() < 1)


@pytest.mark.parametrize("seed, spread", [(0, 0.2), (0, 0.5), (1, 0.5)])
@pytest.mark.parametrize("levels", [(1.0, 1.0), (100.0, 0.01)])
@pytest.mark.parametrize("ray", [(1.0, 0.0), (0.0, 1.0)])
def test_a_block_at_rest_takes_nothing_from_the_limit_of_the_other(seed, spread, levels, ray):
    """Within what lies between 2/L, where modes end, and where random orders do: a fourth on these components."""
    each = components(seed, levels, spread)
    mean = each.mean(axis=0)
    model = local(mean, [ZEROTH, FIRST], [True, False], deviations=each - mean, n=3, ordering="random_reshuffling")
    limits = [
        boundary_scale(lambda e, i=i: model.alone(i).modes(e).stable, [1 / level]) / level for i, level in enumerate(levels)
    ]
    start = [limit * max(share, 1e-6) for limit, share in zip(limits, ray, strict=True)]
    exact = boundary_scale(lambda etas: contracts(each, etas), start)
    scaled = calibrated(model, limits)
    found = boundary_scale(lambda etas: scaled.modes(etas).stable, start)
    assert exact / 1.3 < found < 1.03 * exact
