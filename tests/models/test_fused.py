"""The kernel makes the numbers that the plain arrays make; it is run here as plain arrays."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from theory_lab.models import fused
from theory_lab.oracles import directions

EPS = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("shape", [(3, 4, 256), (5, 384), (2, 4096)])
@pytest.mark.parametrize("count", [1, 2])
def test_the_kernel_adds_the_directions_that_rows_draws(shape, count):
    leaf = jax.random.normal(jax.random.key(1), shape, jnp.float32)
    keys, scales = jax.random.split(jax.random.key(2), count), jnp.array([0.5, -0.25], jnp.float32)[:count]
    rows = leaf.size // shape[-1]
    v = [directions.rows(k, 7 + jnp.arange(rows), shape[-1], "gaussian", jnp.dtype("float32")) for k in keys]
    expected = leaf + sum(s * d for s, d in zip(scales, v, strict=True)).reshape(shape)
    found = fused.add_normals(leaf, keys, scales, jnp.uint32(7), interpret=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=16 * EPS)
    assert float(jnp.abs(found - leaf).max()) > 1


def test_a_shift_by_nothing_keeps_every_bit():
    leaf = jnp.tile(jnp.array([0.0, -0.0, 1.5, -(2.0**-130)], jnp.bfloat16), (1, 64))
    found = fused.add_normals(leaf, jax.random.key(0)[None], jnp.zeros(1), jnp.uint32(0), interpret=True)
    np.testing.assert_array_equal(np.asarray(found).view(np.uint16), np.asarray(leaf).view(np.uint16))


def test_which_leaves_fit():
    fits = {(4, 2048): True, (4, 7168): True, (8, 64): False, (4, 333): False, (): False, (3, 258): False}
    keys = jax.random.split(jax.random.key(0), 2)
    assert {shape: fused.fits(jnp.zeros(shape, jnp.bfloat16), keys) for shape in fits} == fits
    assert not fused.fits(jnp.zeros((4, 2048), jnp.float64), keys)
    assert not fused.fits(
        jnp.zeros((4, 2048)), jax.random.split(jax.random.key(0, impl="rbg"), 2)
    )  # whose rows have other keys


def test_without_the_backend_plain_arrays_do(monkeypatch):
    monkeypatch.delattr(pallas, "triton")
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    found = importlib.util.module_from_spec(fused.__spec__)
    fused.__spec__.loader.exec_module(found)
    given = jnp.zeros((4, 2048), jnp.float32), jax.random.key(0)[None]
    assert fused.fits(*given)
    assert not found.fits(*given)


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")  # from JAX 0.11 on
def test_the_kernel_compiles_for_a_gpu():
    """As far as is known here: to the program that the GPU's compiler gets."""
    leaf, key = jax.ShapeDtypeStruct((4, 2048), jnp.bfloat16), jax.random.key(0)
    add = lambda a, k: fused.add_normals(a, k[None], jnp.ones(1, jnp.float32), jnp.uint32(0))
    device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    with use_abstract_mesh(AbstractMesh((1,), ("devices",), abstract_device=device)):
        text = jax.jit(add).trace(leaf, key).lower(lowering_platforms=("cuda",)).as_text()
    assert "triton" in text
