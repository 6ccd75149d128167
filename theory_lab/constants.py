"""What is known of an objective: its constants, per block where that makes sense.

Declared constants (a problem's own) and measured ones are the same type, so that ``declared.dominates(measured)`` is a
test. ``None`` means unknown; it never means zero.
"""

from collections.abc import Callable, Mapping

from jax.tree_util import Partial

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Label, Scalar

Growth = Callable[[Scalar], Scalar]  # u -> l(u): nondecreasing bound on the curvature where ||grad f|| = u


@record(data=("smoothness", "trace", "growth", "strong_convexity", "pl", "optimal_value", "dispersion"))
class Constants:
    r"""Constants of :math:`f = \frac1n\sum_i f_i`; every field may be None, which means unknown.

    Attributes:
        smoothness: per block L_b, two-sided and for every component: :math:`-D \le \nabla^2 f_i \le D` with
            D = diag(L_b I). Bounding the diagonal blocks alone would not do.
        trace: per block tr S_b for matrices with :math:`\|S_b\| \le L_b` and
            :math:`-\mathrm{diag}(S_b) \le \nabla^2 f_i \le \mathrm{diag}(S_b)`; trace / smoothness is the effective rank.
        growth: per block l_b with the same two-sided bound at every point whose gradient norm is at most u:
            D(u) = diag(l_b(u) I). Hybrid smoothness, Definition 1 of the paper. A plain function becomes a
            `jax.tree_util.Partial`, which may cross into compiled code.
        strong_convexity: the least eigenvalue of the Hessian of f over the whole space, if f is convex.
        pl: the Polyak-Lojasiewicz constant, ||grad f||^2 >= 2 pl (f - f*).
        optimal_value: f*.
        dispersion: per block sigma_b^2 >= (1/n) sum_i ||grad_b f_i(z) - grad_b f(z)||^2 at every z.

    Reference:
        Ma, Yu, Huang: New Hybrid Fine-Tuning Paradigm for LLMs, 2026, Definition 1; the two-sided form is this project's.
    """

    smoothness: Mapping[Label, Scalar] | None = None
    trace: Mapping[Label, Scalar] | None = None
    growth: Mapping[Label, Growth] | None = None
    strong_convexity: Scalar | None = None
    pl: Scalar | None = None
    optimal_value: Scalar | None = None
    dispersion: Mapping[Label, Scalar] | None = None

    def __post_init__(self) -> None:
        for name in ("smoothness", "trace", "growth", "dispersion"):
            for label, value in () if getattr(self, name) is None else _checks.labelled(name, getattr(self, name)).items():
                _known(f"{name}[{label!r}]", value, function=name == "growth")
        for name in ("strong_convexity", "pl", "optimal_value"):
            _known(name, getattr(self, name))
        if self.growth is not None:
            growth = {label: g if isinstance(g, Partial) else Partial(g) for label, g in self.growth.items()}
            object.__setattr__(self, "growth", growth)

    def declared(self) -> "Constants":
        """These constants, if one may declare them; measured ones may be anything.

        Raises:
            ValueError: smoothness, trace, dispersion, strong convexity or PL negative, or anything not finite.

        Example:
            >>> Constants(smoothness={"x": 2.0}, strong_convexity=0.5).declared().strong_convexity
            0.5
        """
        for name in ("smoothness", "trace", "dispersion"):
            for label, value in (getattr(self, name) or {}).items():
                if value is not None and not _checks.is_traced(value):
                    _checks.nonnegative(f"{name}[{label!r}]", value)
        for name in ("strong_convexity", "pl", "optimal_value"):
            value = getattr(self, name)
            if value is not None and not _checks.is_traced(value):
                (_checks.real if name == "optimal_value" else _checks.nonnegative)(name, value)
        return self

    def dominates(self, measured: "Constants", *, rtol: float = 1e-9) -> bool:
        """Whether no measured constant contradicts a declared one.

        Upper bounds (smoothness, trace, dispersion) must not be exceeded, lower bounds (strong convexity, PL, optimal value)
        not undercut, each within the relative tolerance; a measured nan contradicts. What either side does not know is not
        compared, nor are growth functions.

        Example:
            >>> Constants(smoothness={"x": 2.0}).dominates(Constants(smoothness={"x": 1.5}))
            True
            >>> Constants(smoothness={"x": 1.0}).dominates(Constants(smoothness={"x": 1.5}))
            False
        """
        _checks.instance("measured", measured, Constants, "Constants")
        rtol = _checks.nonnegative("rtol", rtol)
        for name in ("smoothness", "trace", "dispersion"):
            declared, seen = getattr(self, name), getattr(measured, name)
            if declared is None or seen is None:
                continue
            both = [(declared[label], seen[label]) for label in declared.keys() & seen.keys()]
            if not all(b <= a + rtol * abs(a) for a, b in both if a is not None and b is not None):
                return False
        for name in ("strong_convexity", "pl", "optimal_value"):
            declared, seen = getattr(self, name), getattr(measured, name)
            if declared is not None and seen is not None and not seen >= declared - rtol * abs(declared):
                return False
        return True


def _known(name: str, value: object, *, function: bool = False) -> None:
    """Refuse what is neither None nor a real number, or a function; measured numbers may be inf and nan."""
    if function and not callable(value):
        raise _checks.refuse(name, "a function of the gradient's norm", value)
    if not (function or value is None or _checks.is_traced(value)):
        _checks.number(name, value)
