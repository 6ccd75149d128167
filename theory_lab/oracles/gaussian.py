"""Standard normals in bulk, as cheaply as they can be had exactly.

On a processor the directions dominate the cost of a zeroth-order step on a small problem. `jax.random.normal` inverts the
error function in float64, branch by branch; the Box-Muller transform needs a logarithm, a root, and the sine and cosine
of a uniform angle, all without branches:

    (r cos theta, r sin theta),   r = sqrt(-2 log u),   u uniform on (0, 1], theta uniform on a circle.

u carries 53 random bits. theta is uniform on 2^32 equally spaced points of the circle, which integrate every trigonometric
polynomial of lower degree exactly: no moment below order 2^32 feels the grid. One and a half 64-bit words make two
normals. In float32 the same with 32 bits each, `polar`: two words make two normals, up to 6.8 in size.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab._typing import Array, Key
from theory_lab.oracles.words import bits

# sin t and cos t on [-pi/4, pi/4] to the last bit: odd and even minimax polynomials in t^2, highest power first
# (the kernels of fdlibm, Sun Microsystems 1993).
_SIN = (1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06, -1.98412698298579493134e-04,
        8.33333333332248946124e-03, -1.66666666666666324348e-01, 1.0)  # fmt: skip
_COS = (-1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07, 2.48015872894767294178e-05,
        -1.38888888888741095749e-03, 4.16666666666666019037e-02, -0.5, 1.0)  # fmt: skip


def normal(key: Key, count: int, dtype: jnp.dtype) -> Array:
    """Independent standard normals, (count,): by Box-Muller in float64, else those of `jax.random.normal`.

    Example:
        >>> normal(jax.random.key(0), 3, jnp.dtype("float32")).shape
        (3,)
    """
    if dtype == jnp.float32:
        return _by_inversion(bits(key, count))
    if dtype != jnp.float64:
        return jax.random.normal(key, (count,), dtype)
    pairs = -(-count // 2)
    words = jax.random.bits(key, (pairs + -(-pairs // 2),), jnp.uint64)
    u = ((words[:pairs] >> 11).astype(dtype) + 1) * 2.0**-53
    halves = words[pairs:]
    angles = jnp.concatenate([halves >> 32, halves & 0xFFFFFFFF])[:pairs]
    cos, sin = circle(angles)
    radius = jnp.sqrt(-2 * jnp.log(u))
    return jnp.concatenate([radius * cos, radius * sin])[:count]


def _by_inversion(drawn: Array) -> Array:
    """What `jax.random.normal` makes of 32-bit words: sqrt(2) erfinv(u), u of their 23 highest bits in (-1, 1)."""
    least = np.nextafter(np.float32(-1), np.float32(0))
    unit = jax.lax.bitcast_convert_type((drawn >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1  # [0, 1)
    u = jnp.maximum(least, unit * (np.float32(1) - least) + least)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(u)


def circle(angle: Array) -> tuple[Array, Array]:
    """Cosine and sine of the angle 2 pi (k + 1/2) / 2^32 - pi/4 for 32-bit integers k (held in 64 bits)."""
    quadrant = angle >> 30
    t = ((angle & 0x3FFFFFFF).astype(jnp.float64) + 0.5) * (jnp.pi / 2**31) - jnp.pi / 4
    squared = t * t
    cos, sin = jnp.polyval(jnp.array(_COS), squared, unroll=8), t * jnp.polyval(jnp.array(_SIN), squared, unroll=8)
    return _turned(quadrant, cos, sin)


def polar(radius: Array, angle: Array) -> tuple[Array, Array]:
    """Two independent standard normals of two random words, uint32 -> float32; arithmetic that a kernel may contain.

    Example:
        >>> x, y = polar(jnp.uint32(2**31), jnp.uint32(2**29))  # half way in, at the angle 0
        >>> round(float(x), 4), round(math.sqrt(2 * math.log(2)), 4), abs(float(y)) < 1e-8
        (1.1774, 1.1774, True)
    """
    u = (radius.astype(jnp.float32) + 0.5) * 2.0**-32
    t = ((angle & jnp.uint32(0x3FFFFFFF)).astype(jnp.int32) - 2**29).astype(jnp.float32)
    t = (t + 0.5) * (math.pi / 2**31)  # exact where it is small
    squared = t * t
    cos, sin = _horner(_COS[3:], squared), t * _horner(_SIN[2:], squared)  # what is left out is below 3e-8
    size = jnp.sqrt(-2 * jnp.log(u))
    x, y = _turned(angle >> jnp.uint32(30), cos, sin)
    return size * x, size * y


def _horner(coefficients: Any, at: Array) -> Array:
    """A polynomial, its highest coefficient first; nothing but arithmetic."""
    total, *others = coefficients
    for coefficient in others:
        total = total * at + coefficient
    return total


def _turned(quadrant: Array, cos: Array, sin: Array) -> tuple[Array, Array]:
    odd, low = quadrant & 1 == 1, quadrant >> 1 == 0  # odd quadrants swap the two; signs go round the circle
    x, y = jnp.where(odd, -sin, cos), jnp.where(odd, cos, sin)
    return jnp.where(low, x, -x), jnp.where(low, y, -y)
