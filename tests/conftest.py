"""Theory is tested in float64, by programs that compile fast."""

import os

import jax

# Most of the suite's time is XLA's: without LLVM's optimizations and with the older emitters of fusions it takes half as long.
# What rests on the compiler, bits and memory, is marked `optimized`, and `make test` runs it with no flags. XLA aborts at a
# flag that it does not know: versions that may not know the second are not given it.
if "XLA_FLAGS" not in os.environ:
    quick = ["--xla_backend_optimization_level=0"]
    if jax.__version_info__[:2] == (0, 10):
        quick.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(quick)

jax.config.update("jax_enable_x64", True)
