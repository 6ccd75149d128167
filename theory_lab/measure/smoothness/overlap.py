"""What a random start has of an eigenvector, and what that promises before a run."""

from functools import lru_cache

import numpy as np
from scipy import stats

from theory_lab import _checks


@lru_cache(maxsize=256)
def least_overlap(dimension: int, probability: float) -> float:
    """q: a start uniform on the sphere has |<b, u>| < q with probability (1 - probability)/2, whatever the unit vector u.

    Example:
        >>> round(least_overlap(2, 0.5), 4)  # an angle below 22.5 degrees off the orthogonal, sin(pi/8)
        0.3827
    """
    if dimension == 1:
        return 1.0
    return float(np.sqrt(stats.beta.ppf((1 - probability) / 2, 0.5, (dimension - 1) / 2)))


def relative_error(dimension: int, iterations: int, *, probability: float = 0.99) -> float:
    r"""How close k products bring both Ritz values to the ends of any spectrum, in units of its width: the a priori law.

    .. math:: \lambda_1 - \theta_1 \le \varepsilon (\lambda_1 - \lambda_d) \ \text{and}\
        \theta_k - \lambda_d \le \varepsilon (\lambda_1 - \lambda_d), \qquad
        \varepsilon = \tanh^2\!\Bigl(\frac{\operatorname{arsinh}(\sqrt{1-q^2}/q)}{2k-1}\Bigr)

    with the stated probability, q being the `least_overlap`.

    Proof. Put u = lambda_1 - eps (lambda_1 - lambda_d) and suppose theta_1 < u. Then int (u - x) p(x)^2 > 0 for every p
    of degree k - 1: (lambda_1 - u) p(lambda_1)^2 b_1^2 is less than (1 - b_1^2) max (u - x) p(x)^2 over [lambda_d, u].
    Map that interval to [-1, 1] and take for p the Chebyshev polynomial W of the fourth kind and degree k - 1, for which
    (1 - t) W(t)^2 = 1 - T(t) with T of the first kind and degree 2k - 1: at most 2 inside. lambda_1 goes to
    t = (1 + eps)/(1 - eps) = cosh(2 artanh sqrt eps), where T(t) - 1 = 2 sinh^2((2k - 1) artanh sqrt eps). So
    b_1^2 sinh^2((2k - 1) artanh sqrt eps) < 1 - b_1^2, that is |b_1| < q for this eps.

    As sqrt(d-1) |b_1|/sqrt(1 - b_1^2) is |Student's t|, an error above eps at one end has probability of at most about
    1.596 sqrt(d) exp(-(2k-1) sqrt eps); the published bound has 1.648.

    Args:
        dimension: d.
        iterations: k products; k >= d leaves no error.
        probability: that both inequalities hold.

    Returns:
        eps in [0, 1). An upper bound.

    Raises:
        ValueError: no dimension, no iteration, a probability outside (0, 1).

    Example:
        >>> round(relative_error(10**6, 60), 3), relative_error(60, 60)
        (0.011, 0.0)

    Reference:
        Kuczynski, Wozniakowski: Estimating the largest eigenvalue by the power and Lanczos algorithms with a random
        start, 1992, the probabilistic relative failure of the Lanczos algorithm (its constant recalled, not re-read).
    """
    dimension, iterations = _checks.count("dimension", dimension), _checks.count("iterations", iterations)
    q = least_overlap(dimension, _checks.between("probability", probability, 0, 1, closed="()"))
    if iterations >= dimension:
        return 0.0
    return float(np.tanh(np.arcsinh(np.sqrt(1 - q**2) / q) / (2 * iterations - 1)) ** 2)
