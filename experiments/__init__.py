"""One question, one script, one figure: `python -m experiments --list` names them all.

An experiment is a module of this folder, found by its name; nothing registers it. It has

    '''The question in one paragraph.

    The theorem that it tests, the metric, the expected minutes of the quick and the full profile.
    '''
    @dataclass(frozen=True)
    class Settings: ...  # texts, numbers, truths, tuples of them; `data: str | None = None` if it reads files of the user
    QUICK, FULL = Settings(...), Settings(...)  # and `GPU`, if it has something to ask of one
    def cells(settings: Settings) -> list[dict]               # the independent pieces, as distinct JSON values
    def compute(cell: dict, key: jax.Array) -> pd.DataFrame   # one piece -> tidy long rows
    def judge(frame: pd.DataFrame) -> list[Verdict]           # at least one, from the frame as read back from the csv
    def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure
    PAIRED = ("part",)                                        # only if cells may differ in these and share a key
    ALONE = True                                              # only if it shares the machine with no other experiment

The runner turns on float64, gives every cell a key of its own (cells that differ in `PAIRED` fields alone get the same, so
that they can share what they draw), keeps finished cells, and writes NAME.csv, NAME.json, NAME.png and index.html. A frame
with ``frame.attrs["keep"] = False`` is used but not kept: the next run computes its cell again (as for a time that was
measured while the machine was busy). Modules whose names begin with an underscore are no experiments.
"""

import os
from importlib.metadata import version

# The theory multiplies matrices of a hundred rows: one thread does that several times faster than two that wait for each
# other. NumPy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Much of the time is XLA's, on small programs: on a CPU its older emitters of loops take two thirds as long, and what they
# make runs as fast. It reads this when a device is first used, and aborts at a flag that its version does not know.
OLDER_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
if version("jaxlib").startswith("0.10.") and "xla_cpu_use_fusion_emitters" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {OLDER_EMITTERS}".strip()

# Experiments on a GPU measure in processes of their own, beside which this one must not hold its memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# The order in which the experiments are run and told. One that is not named here follows alphabetically.
ORDER = (
    "oracle_moments",
    "smoothing_radius",
    "reshuffling_floor",
    "stability_map",
    "step_size_limits",
    "rate_epochs",
    "logistic_real",
    "exact_curves",
    "falsifier",
    "bound_tightness",
    "rate_components",
    "published_steps",
    "confidence",
    "effective_rank",
    "block_ratio",
    "hybrid_gain",
    "adapter_dimension",
    "adam_asymmetry",
    "generalized_smoothness",
    "update_order",
    "smoothness_estimation",
    "smoothness_frontier",
    "growth_functions",
    "step_size_advisor",
    "network_step_sizes",
    "figure1_smoothness",
    "figure2_learning_rates",
    "figure3_full_finetuning",
    "figure4_convergence",
    "table1_tasks",
    "table2_memory",
    "table3_adam",
    "transformer_step_sizes",
    "throughput",
    "scaling",
    "step_time",
)
