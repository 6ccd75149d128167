"""Which ways of computing the same numbers this process's device offers, asked when a program is traced."""

import jax
import jax.numpy as jnp


def gpu() -> bool:
    return jax.default_backend() == "gpu"


def one_gpu() -> bool:
    """A kernel of our own runs on one device: the compiler cannot divide it among several."""
    return gpu() and jax.device_count() == 1


def fused_attention(dtype: jnp.dtype, head_dim: int) -> bool:
    """Whether cuDNN's attention takes such heads: it keeps no table of who sees whom, and knows half precision alone."""
    return gpu() and dtype in (jnp.bfloat16, jnp.float16) and head_dim % 8 == 0 and head_dim <= 128


def compiler_options() -> dict[str, bool] | None:
    """Matrix products by cuBLAS alone, which adds biases and residuals and cuts at 0 as it writes; None elsewhere."""
    return {"xla_gpu_enable_triton_gemm": False} if gpu() else None
