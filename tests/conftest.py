"""Theory is tested in float64. `make test` compiles fast what does not rest on the compiler."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)


def pytest_configure(config: pytest.Config) -> None:
    """Without what is marked `optimized`, no optimizing.

    Most of the suite's time is XLA's: without LLVM's optimizations and with the older emitters of fusions it takes half as
    long. XLA aborts at a flag that it does not know: versions that may not know the second are not given it.
    """
    if "XLA_FLAGS" in os.environ:
        return
    quick = config.option.markexpr == "not optimized"
    flags = ["--xla_backend_optimization_level=0"] if quick else []
    if jax.__version_info__[:2] == (0, 10):
        flags.append(f"--xla_cpu_use_fusion_emitters={str(not quick).lower()}")  # said, or experiments would choose
    os.environ["XLA_FLAGS"] = " ".join(flags)


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Every compiled program is mapped into memory; Linux maps 65,530 pieces for a process, no more."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > 20_000:
        jax.clear_caches()
