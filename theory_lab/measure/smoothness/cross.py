r"""The coupling of two blocks, measured: the norm of the cross block H_ab of a Hessian."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from theory_lab import _checks, blocks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.measure.base import Measurement, unmeasured
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness._door import Objective, at_a_point, exactly
from theory_lab.measure.smoothness.curvature import Curvature


@record(data=("params", "scales", "args"))
class Cross(Curvature):
    """[[0, H_ab], [H_ba, 0]] on two blocks; its largest eigenvalue is the norm of H_ab, its smallest the negative.

    Attributes:
        pair: the labels a and b.
    """

    pair: tuple[Label, Label] = ("", "")

    @property
    def free(self) -> dict[Label, Any]:
        return {label: self.params[label] for label in sorted(self.pair)}

    def product(self, vector: Array) -> Array:
        _, unflatten = ravel_pytree(self.free)
        v = unflatten(vector)
        return ravel_pytree({one: self._towards(one, other, v[other]) for one, other in (self.pair, self.pair[::-1])})[0]

    def products(self) -> Callable[[Array], Array]:
        return self.product

    def _towards(self, one: Label, other: Label, v: Any) -> Any:
        """H_(one, other) v, by one forward derivative of one reverse derivative."""
        slope = lambda part: jax.grad(lambda own: exactly(self.fn, {**self.params, other: part, one: own}, self.args))(
            self.params[one]
        )
        return jax.jvp(slope, (self.params[other],), (v,))[1]


def cross_norm(
    fn: Objective,
    params: Params,
    pair: tuple[Label, Label],
    *,
    key: Key,
    iterations: int = 40,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> Measurement:
    r"""The spectral norm of the cross block H_ab, from both sides.

    .. math:: \|H_{ab}\| = \lambda_{\max}\begin{pmatrix} 0 & H_{ab} \\ H_{ba} & 0 \end{pmatrix}

    For positive semidefinite H it is at most the square root of the product of the diagonal blocks' norms.

    Args:
        fn, params, key, iterations, probability, args: as in `smoothness.extreme_eigenvalues`; one product here is
            one with H_ab and one with H_ba.
        pair: the labels a and b.

    Returns:
        The norm: a Ritz value, and an outer end at the stated probability, the larger one of both ends of the spectrum.

    Raises:
        ValueError: not two different labels of the parameters; otherwise as `smoothness.extreme_eigenvalues`.

    Example:
        >>> fn = lambda z: 3 * z["x"][0] * z["y"][1] + jax.numpy.sum(z["x"] ** 2)
        >>> found = cross_norm(fn, {"x": jax.numpy.zeros(2), "y": jax.numpy.zeros(2)}, ("x", "y"), key=jax.random.key(0))
        >>> round(found.value, 5)
        3.0
    """
    point, arrays = at_a_point(fn, params, args)
    if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1]:
        raise _checks.refuse("pair", "two different labels", pair)
    for label in pair:
        _checks.choice("pair", label, point)
    hessian = Cross(fn, None, point, dict.fromkeys(blocks.labels(point), 1.0), arrays, pair=pair)
    name = f"norm of the cross block {pair}"
    found = lanczos.extremes(hessian, key, iterations, probability)
    if found is None:
        return unmeasured(name, 1, "a Hessian-vector product is not finite")
    low, high, _ = found
    return replace(lanczos.norm(low, high), name=name)
