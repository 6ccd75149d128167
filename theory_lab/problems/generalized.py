"""Objectives whose curvature grows with the gradient: generalised and hybrid smoothness with known growth functions."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params, Scalar
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem, centred_tilts, dimensions_of, generator, magnitude, normal_params, per_block

Kind = Literal["cosh", "exponential", "power"]


@record(data=("a", "b"))
class Profile:
    """A convex function phi of one variable with phi(0) = phi'(0) = 0; make it with `cosh`, `exponential` or `power`.

    kind           phi(t)                          phi''(t)          growth l(u), |phi''| <= l(|phi'|)
    cosh           (a/b^2)(cosh bt - 1)            a cosh bt         sqrt(a^2 + b^2 u^2), equality everywhere
    exponential    (a/b^2)(exp(bt) - bt - 1)       a exp(bt)         a + b u, equality for t >= 0
    power          |t|^b / b                       (b-1)|t|^(b-2)    (b-1) u^((b-2)/(b-1)), equality everywhere

    Proof. Eliminate t between phi' and phi'': cosh^2 = 1 + sinh^2; phi'' = a + b phi'; |phi'| = |t|^(b-1).
    """

    kind: Kind
    a: Scalar
    b: Scalar

    def __call__(self, t: Array) -> Array:
        if self.kind == "cosh":
            return self.a / self.b**2 * 2 * jnp.sinh(self.b * t / 2) ** 2
        if self.kind == "exponential":
            return self.a / self.b**2 * (jnp.expm1(self.b * t) - self.b * t)
        return jnp.abs(t) ** self.b / self.b

    def growth(self, u: Scalar) -> Scalar:
        """l(u), nondecreasing; of a float in float64, whatever JAX is configured to."""
        if self.kind == "cosh":
            return (self.a**2 + self.b**2 * u**2) ** 0.5
        if self.kind == "exponential":
            return self.a + self.b * u
        return (self.b - 1) * u ** ((self.b - 2) / (self.b - 1))


def cosh(a: float = 1.0, b: float = 1.0) -> Profile:
    """phi(t) = (a/b^2)(cosh bt - 1): curvature a at the origin, growing like b|phi'|."""
    return Profile("cosh", magnitude("a", a), magnitude("b", b))


def exponential(a: float = 1.0, b: float = 1.0) -> Profile:
    """phi(t) = (a/b^2)(exp(bt) - bt - 1): (L0, L1)-smooth with L0 = a, L1 = b, flat to the left."""
    return Profile("exponential", magnitude("a", a), magnitude("b", b))


def power(p: float = 4.0) -> Profile:
    """phi(t) = |t|^p / p for p > 2: no curvature at the minimum, sub-linear growth.

    Raises:
        ValueError: a p of 2 or less.
    """
    if _checks.positive("p", p) <= 2:
        raise _checks.refuse("p", "greater than 2 (2 is a quadratic, less has no bounded curvature)", p)
    return Profile("power", 1.0, float(p))


@record(data=("profiles", "coupling", "tilts", "constants", "optimum"))
class Separable(Problem):
    """f_i(z) = sum_b sum_j phi_b(z_bj) + c sum_j sin x_j sin y_j - b_i'z; build it with `separable`."""

    n: int
    profiles: Mapping[Label, Profile]
    coupling: Scalar
    tilts: Mapping[Label, Array]  # {label: (n, d_b)}
    constants: Constants
    optimum: Params

    def init(self, key: Key) -> Params:
        first = next(iter(self.tilts.values()))
        return normal_params(key, {b: t.shape[1] for b, t in self.tilts.items()}, first.dtype)

    def component(self, params: Params, index: Array) -> Array:
        terms = [jnp.sum(self.profiles[b](params[b])) - jnp.dot(self.tilts[b][index], params[b]) for b in self.tilts]
        total = jnp.sum(jnp.stack(terms))
        if len(self.tilts) == 2:
            x, y = (params[b] for b in sorted(self.tilts))
            shared = min(x.size, y.size)
            total = total + self.coupling * jnp.sum(jnp.sin(x[:shared]) * jnp.sin(y[:shared]))
        return total


def separable(
    dimensions: Mapping[Label, int],
    profiles: Profile | Mapping[Label, Profile],
    *,
    n: int = 1,
    coupling: float = 0.0,
    dispersion: float | Mapping[Label, float] = 0.0,
    key: Key | None = None,
) -> Separable:
    r"""A convexly growing objective without a Lipschitz gradient, hybrid-smooth with known growth functions.

    .. math:: f_i(z) = \sum_b \sum_j \phi_b(z_{bj}) + c \sum_{j} \sin x_j \sin y_j - b_i^\top z, \qquad \sum_i b_i = 0

    The coupling's Hessian has eigenvalues in [-c, c] and |phi'(x_j)| <= ||grad f|| + c, so two-sidedly

    .. math:: l_b(u) = \ell_{\phi_b}(u + c) + c.

    The minimum is 0, at 0, as long as c |sin x sin y| <= phi_x(x) + phi_y(y) everywhere. With
    m_b = inf 2 phi_b(t) / sin^2 t that is known for c <= sqrt(m_x m_y), by the inequality of the two means; a stronger
    coupling is refused.

    Args:
        dimensions: the size of every block.
        profiles: phi, for all blocks or each.
        n: the number of components.
        coupling: c >= 0; needs exactly two blocks if positive.
        dispersion: sigma_b^2, exact at every point; positive needs n >= 2.
        key: randomness of the tilts b_i; None is key 0.

    Raises:
        ValueError: a coupling above sqrt(m_x m_y), and the usual rules.

    Example:
        >>> problem = separable({"x": 2, "y": 2}, {"x": cosh(), "y": exponential()}, coupling=0.5)
        >>> float(problem.constants.growth["y"](1.0))
        3.0
    """
    sizes = dimensions_of(dimensions)
    n = _checks.count("n", n, bits=31)
    chosen = per_block("profiles", profiles, sizes, _profile)
    coupling = _checks.nonnegative("coupling", coupling)
    if coupling > 0 and len(sizes) != 2:
        raise _checks.refuse("coupling", f"0 unless there are exactly two blocks (here {sorted(sizes)})", coupling)
    most = math.prod(_curvature_beside_sine(p) for p in chosen.values()) ** (1 / len(chosen))
    if coupling > most:
        raise _checks.refuse(
            "coupling", f"at most {most:.4g}, up to which the minimum is known to stay at the origin", coupling
        )
    sigma = per_block("dispersion", dispersion, sizes, partial(magnitude, zero=True))
    if n == 1 and any(sigma.values()):
        raise _checks.refuse("n", "at least 2 where dispersion is positive", n)
    rng = generator(key)
    tilts = {b: jnp.asarray(centred_tilts(rng, n, d, sigma[b])) for b, d in sizes.items()}
    return Separable(
        n=n,
        profiles=chosen,
        coupling=coupling,
        tilts=tilts,
        constants=Constants(
            growth={b: jax.tree_util.Partial(_shifted_growth, p, coupling) for b, p in chosen.items()},
            optimal_value=0.0,
            dispersion=sigma,
        ),
        optimum={b: jnp.zeros(d) for b, d in sizes.items()},
    )


def _profile(name: str, value: object) -> Profile:
    if not isinstance(value, Profile):
        raise _checks.refuse(name, "a profile: cosh(...), exponential(...) or power(...)", value)
    return value


def _shifted_growth(profile: Profile, coupling: Scalar, u: Scalar) -> Scalar:
    """l_b(u) = l_phi(u + c) + c."""
    return profile.growth(u + coupling) + coupling


def _curvature_beside_sine(profile: Profile) -> float:
    """A lower bound on inf_t 2 phi(t) / sin^2 t, the coupling up to which phi(x) + phi(y) >= c |sin x sin y|.

    The profiles grow away from the origin, so |t| <= pi/2 suffices. phi is convex and sin^2 monotone on either side: between
    neighbouring grid points the quotient is at least phi(inner point) / sin^2(outer point); near the origin
    2 phi >= phi''_min t^2 and sin^2 t <= t^2.
    """
    a, b = float(profile.a), float(profile.b)
    if profile.kind == "power":
        return 0.0
    if profile.kind == "cosh":
        return a
    t = np.geomspace(1e-3, math.pi / 2, 20001)
    inner, outer = t[:-1], t[1:]
    quotients = 2 * a / b**2 * (np.expm1(-b * inner) + b * inner) / np.sin(outer) ** 2  # the flat side, t < 0
    return float(min(quotients.min(), a * math.exp(-b * 1e-3)))
