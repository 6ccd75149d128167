r"""Lanczos by its three-term recurrence: five vectors of memory at any number of products.

.. math:: \beta_{j+1} q_{j+1} = A q_j - \alpha_j q_j - \beta_j q_{j-1}

Without reorthogonalisation the q_j are unit vectors that satisfy this up to the rounding f_j of a step, and they lose their
orthogonality once a Ritz value has converged; what converged then appears twice. The outer bound
does not need orthogonality; the witness does, hence the product at its end.

The outer bound. Let u be a unit eigenvector of lambda, :math:`c_j = \langle q_j, u\rangle` and
:math:`e_j = \langle f_j, u\rangle`. Then c satisfies the recurrence of the Lanczos polynomials with the disturbance e, and
by variation of constants, for lambda beyond all Ritz values, where every phi_j is positive,

.. math:: \frac{c_j}{\varphi_j(\lambda)} = c_0 + \sum_{m=1}^{j}
    \frac{\sum_{i<m} e_i \varphi_i(\lambda)}{\beta_m \varphi_{m-1}(\lambda) \varphi_m(\lambda)} .

A unit vector has :math:`|c_j| \le 1`. So a lambda for which :math:`\varphi_j(\lambda) (q - E_j(\lambda)) > 1` at some j is
excluded as soon as |c_0| >= q, E_j being the sum with |e_i| <= rho. Orthonormal vectors have :math:`\sum_j c_j^2 \le 1`
instead, which is a little sharper. For rho, rounding is taken to have no preference for u: 4 machine epsilons of the size of
A over sqrt(d), and besides whatever the products show of asymmetry beyond the rounding of an inner product.

The witness. At a level x the first j at which the matrix of alpha and beta has an eigenvalue beyond x is the first at which
phi_{j+1}(x) changes sign, and :math:`y = \sum_{i \le j} \varphi_i(x) q_i` has
:math:`\langle y, (A - x) y\rangle = -\beta_{j+1} \varphi_j(x) \varphi_{j+1}(x) > 0`. So a vector that refutes A <= x is
summed along the way, as soon as the Krylov space contains one; a product tells in the end whether rounding has left it one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from theory_lab._typing import Array, Key
from theory_lab.measure.smoothness.curvature import Curvature

SIDES = (-1.0, 1.0)  # below -level and above level


class Recurrence(NamedTuple):
    """What k steps leave.

    Attributes:
        steps: how many were made, up to k.
        diagonal, off: alpha_j and beta_{j+1}, (k,).
        skew: <q_{j-1}, A q_j> - <q_j, A q_{j-1}>, (k,): 0 for a symmetric operator without rounding.
        found: whether there is a witness below and above, (2,).
        witness: unit vectors, (2, d), or (0, d) where no level was given.
    """

    steps: Array
    diagonal: Array
    off: Array
    skew: Array
    found: Array
    witness: Array


class _State(NamedTuple):
    before: Array  # q_{j-1}
    now: Array  # q_j
    back: Array  # beta_j
    across: Array  # <q_j, A q_{j-1}>
    turned: Array  # phi_{j-1}/phi_j at both levels, (2,)
    sums: Array  # sum_i phi_i/phi_j q_i, (2, d)
    leads_on: Array


def length(vector: Array) -> Array:
    """The norm of a vector, in units of its largest number where squares would leave the range of its type."""
    plain, limits = jnp.linalg.norm(vector), jnp.finfo(vector.dtype)

    def in_units(v: Array) -> Array:
        most = jnp.max(jnp.abs(v))
        return most * jnp.maximum(jnp.linalg.norm(v / jnp.where(most > 0, most, 1)), 1)  # 1/most may be 0 itself

    within = (plain > float(limits.tiny) ** 0.5 / float(limits.eps)) & (plain <= limits.max)
    return jax.lax.cond(within, lambda _: plain, in_units, vector)


@jax.jit(static_argnums=(1, 3))
def recur(hessian: Curvature, k: int, key: Key, level: float | None = None) -> Recurrence:
    """At most k steps from a random start; with a level, witnesses of eigenvalues below its negative and above it."""
    d, dtype = hessian.dimension, hessian.dtype
    start = jax.random.normal(key, (d,), dtype)
    start = start / jnp.linalg.norm(start)
    sides = jnp.asarray(SIDES if level is not None else (), dtype)
    none = jnp.zeros((), dtype)
    state = _State(jnp.zeros_like(start), start, none, none, 0 * sides, jnp.tile(start, (sides.size, 1)), jnp.array(True))
    empty = jnp.zeros(k, dtype)
    record = Recurrence(jnp.zeros((), jnp.int32), empty, empty, empty, sides > 2, state.sums[:, :0])

    def step(carry: tuple[Recurrence, _State]) -> tuple[Recurrence, _State]:
        record, state = carry
        j, curved = record.steps, hessian.product(state.now)
        skew = jnp.vdot(state.before, curved) - state.across
        rest = curved - state.back * state.before
        alpha = jnp.vdot(state.now, rest)
        rest = rest - alpha * state.now
        beta = length(rest)
        following = rest / jnp.where(beta > 0, beta, 1)
        leads_on = beta > 10 * jnp.finfo(dtype).eps * length(curved)
        found, turned, sums = record.found, state.turned, state.sums
        if level is not None:
            pivot = sides * (sides * level - alpha - state.back * turned)  # of level - A or of A + level
            pivot = jnp.where(pivot == 0, jnp.finfo(dtype).eps, pivot)
            found = found | (pivot < 0)
            turned = beta / (sides * pivot)
            sums = jnp.where(found[:, None], sums, following + turned[:, None] * sums)
        record = Recurrence(
            j + 1,
            record.diagonal.at[j].set(alpha),
            record.off.at[j].set(beta),
            record.skew.at[j].set(skew),
            found,
            sums[:, :0],
        )
        return record, _State(state.now, following, beta, jnp.vdot(following, curved), turned, sums, leads_on)

    going: Any = lambda carry: (carry[0].steps < k) & carry[1].leads_on
    record, state = jax.lax.while_loop(going, step, (record, state))
    return record._replace(witness=state.sums / jnp.linalg.norm(state.sums, axis=1, keepdims=True))
