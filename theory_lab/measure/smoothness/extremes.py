"""Both ends of the spectrum of a Hessian, by products."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from theory_lab._typing import Key, Label, Params, Scalar
from theory_lab.measure.base import Measurement, unmeasured
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.curvature import curvature, described

ENDS = ("lowest eigenvalue", "highest eigenvalue")


def extreme_eigenvalues(
    fn: Objective,
    params: Params,
    *,
    key: Key,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    iterations: int = 40,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> tuple[Measurement, Measurement]:
    r"""Both ends of the spectrum of a Hessian, of a diagonal block, or of either in scaled coordinates, by Lanczos.

    .. math:: \theta \le \lambda_{\max}(A) \le x, \qquad
        A \in \{H,\ H_{bb},\ D^{-1/2} H D^{-1/2}\},\quad D = \mathrm{diag}(L_b I)

    The inner ends are Ritz values and certain. The outer ends hold, both together, with the stated probability over the
    random start; why, and that they cannot be sharper, is told in `smoothness.lanczos`. An interval is a point,
    up to rounding, once k reaches the dimension or the Krylov space closes. Rounding is estimated from the run and
    added on both sides. Where the vectors are not kept (see ``iterations``) the outer ends hold on condition that rounding
    prefers no eigenvector, as `smoothness.recurrence` assumes; that is not proved.

    H is made of second derivatives as JAX takes them, forward over reverse: fn must have both, and a kink (relu, abs) adds
    nothing. What is measured there is the curvature of the smooth piece, which bounds no step across the kink.

    About (log d + 12) / (4 sqrt(eps)) products bring both ends to within eps times the width of any spectrum at the
    default probability (`lanczos.relative_error`); most spectra take far fewer.

    Args:
        fn: a twice differentiable scalar function, fn(params, *args); one compilation per function object.
        params: the point, a dict of blocks of floating-point arrays.
        key: the random start.
        block: label of a diagonal block; None for the whole Hessian.
        scaling: {label: L_b > 0} for D^{-1/2} H D^{-1/2}, with the labels of the parameters; None for H.
        iterations: k, Hessian-vector products at most; memory is k vectors like the parameters, or where those are more than
            `lanczos.KEPT` numbers, four (`theory_lab.measure.smoothness.recurrence`).
        probability: that both outer ends hold.
        args: further arguments of fn, arrays, which may change without compiling anew.

    Returns:
        The lowest and the highest eigenvalue. Their values are the Ritz values; ``products`` is what both have cost
        together. Not a number, with a note, where a product is not finite.

    Raises:
        ValueError: labels that do not match, leaves that are not floating point, a value of fn that is not a finite
            scalar, a scale that is not positive, iterations < 1, a probability outside (0, 1).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> fn = lambda z: 3 * jnp.sum(z["x"] ** 2) - jnp.sum(z["y"] ** 2) + 4 * z["x"][0] * z["y"][0]
        >>> point, key = {"x": jnp.ones(3), "y": jnp.ones(2)}, jax.random.key(0)
        >>> low, high = extreme_eigenvalues(fn, point, key=key)  # of [[6, 4], [4, -2]]: 2 -+ sqrt(32)
        >>> round(low.value, 4), round(high.value, 4), high.low <= 2 + 32**0.5 <= high.high
        (-3.6569, 7.6569, True)
        >>> _, high = extreme_eigenvalues(fn, point, key=key, block="x", scaling={"x": 12.0, "y": 1.0})
        >>> round(high.value, 4)
        0.5

    Reference:
        Kuczynski, Wozniakowski: Estimating the largest eigenvalue by the power and Lanczos algorithms with a random
        start, 1992. Bounds after the run, from the last Lanczos polynomial: van Dorsselaer, Hochstenbach, van der
        Vorst: Computing probabilistic bounds for extreme eigenvalues of symmetric matrices with the Lanczos method,
        1999 (recalled, not re-read); here all polynomials are used.
    """
    hessian = curvature(fn, params, block=block, scaling=scaling, args=args)
    of = described(hessian, scaling)
    found = lanczos.extremes(hessian, key, iterations, probability)
    if found is None:
        low, high = (unmeasured(f"{end} of {of}", 1, "a Hessian-vector product is not finite") for end in ENDS)
        return low, high
    low, high, _ = found
    return replace(low, name=f"{low.name} of {of}"), replace(high, name=f"{high.name} of {of}")
