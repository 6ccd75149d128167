"""Which ways of computing the same numbers a device offers, asked when a program is traced.

A program that is traced does not know where its arrays will lie. What is asked is where JAX computes unless told otherwise:
on the device of `jax.default_device`, or the first there is. A step of `perturb` is traced for where its parameters lie.
Who compiles a function of one's own for another kind of device than the first says so:

    with jax.default_device(jax.devices("cpu")[0]):
        ...

Kernels and cuDNN's attention are for NVIDIA's GPUs from compute capability 8.0 on (Ampere); on others, of AMD too, the same
is computed from plain arrays.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp

AMPERE = 8


def here() -> Any:
    """The device on which JAX computes what lies on no other."""
    given: Any = jax.config.jax_default_device  # type: ignore[attr-defined]
    if given is None:
        return jax.local_devices()[0]
    return jax.local_devices(backend=given)[0] if isinstance(given, str) else given


def where_lies(tree: Any) -> contextlib.AbstractContextManager[Any]:
    """Trace for the kind of device on which the arrays of a tree lie; shapes and what is traced itself say nothing of it."""
    leaves = jax.tree.leaves(tree)
    if not leaves or isinstance(leaves[0], jax.core.Tracer) or not isinstance(leaves[0], jax.Array):
        return contextlib.nullcontext()
    places: Any = leaves[0].sharding.addressable_devices
    lies = min(places, key=lambda device: device.id)
    return contextlib.nullcontext() if lies.platform == here().platform else jax.default_device(lies)


def gpu() -> bool:
    return bool(here().platform == "gpu")


def cpu() -> bool:
    return bool(here().platform == "cpu")


def has_kernels() -> bool:
    """Whether Triton's kernels and cuDNN's attention are to be had."""
    device = here()
    return gpu() and "cuda" in device.client.platform_version and float(device.compute_capability) >= AMPERE


def one_with_kernels() -> bool:
    """A kernel of our own runs on one device: the compiler cannot divide it among several."""
    return has_kernels() and jax.device_count() == 1


def fused_attention(dtype: jnp.dtype, head_dim: int) -> bool:
    """Whether cuDNN's attention takes such heads: it keeps no table of who sees whom, and knows half precision alone.

    It has a gradient and no second derivative: Hessian-vector products need the computation in float32.
    """
    return has_kernels() and dtype in (jnp.bfloat16, jnp.float16) and head_dim % 8 == 0 and head_dim <= 128


def compiler_options() -> dict[str, bool] | None:
    """Matrix products by cuBLAS alone, which adds biases and residuals and cuts at 0 as it writes; None elsewhere."""
    return {"xla_gpu_enable_triton_gemm": False} if has_kernels() else None
