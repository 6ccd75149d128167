"""Four devices in a process of their own: the numbers of one device, a share of its memory."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.many import four, work

ROOT = Path(__file__).parents[2]
FLAGS = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"  # LLVM's; those on arrays stay
stepped = pytest.mark.parametrize("kind, way", [(k, way) for k, ways in four.STEPPED.items() for way in ways if way[0] > 1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    file = tmp_path_factory.mktemp("four") / "found"
    asked = {**os.environ, "XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-m", "tests.many.four", str(file)]
    done = subprocess.run(command, env=asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return pickle.loads(file.read_bytes())


@stepped
def test_iterates_do_not_depend_on_the_devices(found, kind, way):
    one, many, begin = found["steps"][kind][1, "data"], found["steps"][kind][way], work.parameters(kind)
    np.testing.assert_allclose(many["values"], one["values"], rtol=20 * work.EPS)
    tolerances = work.tolerances(kind, many["params"], one["params"])
    for new, old, first, atol in zip(*map(jax.tree.leaves, (many["params"], one["params"], begin, tolerances)), strict=True):
        np.testing.assert_allclose(new, old, atol=atol, rtol=0)
        assert np.abs(old - first).max() > 20 * work.allowed()  # they moved by far more


@stepped
def test_arguments_take_the_memory_that_is_expected(found, kind, way):
    count, shard = way
    expected = work.expected_bytes(kind, count if shard == "full" else 1)
    beside = found["steps"][kind][way]["bytes"] - expected  # three of (B/N, T) whole numbers, a key, a number or two
    assert 0 < beside <= 3 * 8 * work.TEXTS * work.TOKENS // count + 64
    if way == (4, "full"):
        assert found["steps"][kind][way]["bytes"] < 0.33 * found["steps"][kind][1, "data"]["bytes"]


@stepped
def test_no_device_holds_a_whole_array_or_direction(found, kind, way):
    """No array in the program of one device is larger than its share of the largest, or than a matrix of one layer."""
    count, shard = way
    largest = max(leaf.size for leaf in jax.tree.leaves(work.parameters(kind)))
    assert largest == work.LAYERS * 64 * work.WIDTH > count * 64 * work.WIDTH
    assert found["steps"][kind][way]["largest"] == (largest // count if shard == "full" else largest)


@stepped
def test_parameters_stay_where_they_lie(found, kind, way):
    assert found["steps"][kind][way]["stays"]


def test_what_is_shifted_has_the_same_bits(found):
    for name, made in found["pieces"][1].items():
        np.testing.assert_array_equal(found["pieces"][4][name], made, err_msg=name)


def test_a_hessian_vector_product_of_a_split_model_is_that_of_a_whole_one(found):
    """Forward over reverse, through arrays that are gathered where they are used; softmax is in float32 always."""
    one, many = (np.concatenate([a.ravel() for a in jax.tree.leaves(found["curved"][count])]) for count in (1, 4))
    np.testing.assert_allclose(many, one, rtol=0, atol=100 * work.EPS * np.abs(one).max())
    assert np.abs(one).max() > 0


@pytest.mark.parametrize("count", [2, 4])
def test_a_sweep_has_the_same_numbers(found, count):
    """Five seeds on four devices: three trajectories are computed twice and left out again."""
    (one, _), (many, compiled) = found["sweeps"][None], found["sweeps"][count]
    assert compiled == 1
    assert np.isfinite(one.diverged_at[2]).all()
    np.testing.assert_array_equal(many.diverged_at, one.diverged_at)
    np.testing.assert_allclose(many.value, one.value, rtol=1e-10)
    for label, block in one.params.items():
        np.testing.assert_allclose(many.params[label][:2], block[:2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(*found["single steps"].values(), rtol=1e-10)


def test_fine_tuning_on_four_devices_is_that_on_one(found):
    one, full, again = (found["trained"][name] for name in ("one", "full", "again"))
    assert one["specs"] == []
    assert set(full["specs"]) == {"P()", "P(None, 'devices')"}
    np.testing.assert_allclose(full["losses"], one["losses"], atol=100 * work.EPS, rtol=0)  # of a loss near 10
    numbers = ["loss", "dev_accuracy", "dev_loss"]
    np.testing.assert_allclose(full["history"][numbers], one["history"][numbers], atol=100 * work.EPS, rtol=0)
    for name in ("losses", "params", "best"):  # read from its checkpoint
        for old, new in zip(jax.tree.leaves(full[name]), jax.tree.leaves(again[name]), strict=True):
            np.testing.assert_array_equal(new, old)


def test_the_command_line_says_the_same(found):
    one, four = found["command"]
    assert (four["arguments"]["devices"], four["arguments"]["shard"]) == (4, "full")
    assert one["accuracy"] == four["accuracy"]
    assert one["spent"] == four["spent"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("folder", "devices, shard must be '4, full', as in the run that .* keeps, got '2, full'"),
        ("batch", "batch_size must be a multiple of 4, the number of devices, got 3"),
        ("split", "texts must be a multiple of 4, the number of devices, got 6"),
        ("too many", "devices must be at most 4, as many as JAX sees, got 5"),
        ("trajectories", "devices must be at most 1, the number of trajectories, got 4"),
    ],
)
def test_what_does_not_fit_the_devices_is_refused(found, name, message):
    assert re.search(message, found["refused"][name])
