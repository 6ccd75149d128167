"""Which ways of computing a device offers: by the device that is asked for, on those of every make."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.models import backend, differences, zo_step
from theory_lab.models.shift import whole


def device(platform: str, version: str = "cuda 12080", capability: str = "9.0") -> SimpleNamespace:
    return SimpleNamespace(
        platform=platform, client=SimpleNamespace(platform_version=version), compute_capability=capability
    )


@pytest.mark.parametrize(
    "found, expected",
    [
        (device("cpu", "cpu"), (False, False)),
        (device("gpu"), (True, True)),
        (device("gpu", capability="10.3"), (True, True)),
        (device("gpu", capability="8.0"), (True, True)),
        (device("gpu", capability="7.5"), (True, False)),
        (device("gpu", version="rocm 60000", capability="gfx942"), (True, False)),
    ],
)
def test_kernels_are_for_gpus_of_nvidia_from_ampere_on(monkeypatch, found, expected):
    monkeypatch.setattr(backend, "here", lambda: found)
    assert (backend.gpu(), backend.has_kernels()) == expected
    assert backend.fused_attention(jnp.dtype(jnp.bfloat16), 64) == expected[1]
    assert not backend.fused_attention(jnp.dtype(jnp.float32), 64)
    assert not backend.fused_attention(jnp.dtype(jnp.bfloat16), 60)
    assert (backend.compiler_options() is not None) == expected[1]


def test_the_device_is_the_one_that_jax_was_told_to_take(monkeypatch):
    assert backend.here() == jax.local_devices()[0]
    with jax.default_device(jax.devices("cpu")[0]):
        assert backend.here() == jax.devices("cpu")[0]
    with jax.default_device("cpu"):
        assert backend.here() == jax.devices("cpu")[0]


def test_a_step_is_traced_for_where_its_parameters_lie(monkeypatch):
    """Here for a processor, though JAX would take a GPU if it were not told."""
    seen = []

    def loss(params, batch):
        seen.append(jax.config.jax_default_device)
        return jnp.sum(whole(params["base"]) ** 2)

    step, params = zo_step(loss, differences(1e-3), donate=False), {"base": jnp.ones(3, jnp.float32)}
    plain = step(params, (), None, jax.random.key(0), 0.1).params["base"]
    assert set(seen) == {None}
    seen.clear()
    monkeypatch.setattr(backend, "here", lambda: device("gpu", "rocm 60000", "gfx942"))
    again = zo_step(loss, differences(1e-3), donate=False)(params, (), None, jax.random.key(0), 0.1).params["base"]
    assert set(seen) == {jax.devices("cpu")[0]}
    np.testing.assert_allclose(again, plain, rtol=1e-6)
