"""Tasks: official files or the generated language in, examples with options out."""

from theory_lab import _checks
from theory_lab.finetune.tasks.base import Example, Pools, Task, example, sample
from theory_lab.finetune.tasks.official import copa, rte, sst2, wic, winogrande, wsc

READERS = {reader.__name__: reader for reader in (sst2, rte, wsc, wic, copa, winogrande)}

__all__ = ["READERS", "Example", "Pools", "Task", "example", "read", "sample"]


def read(name: str, folder: str, **options: str) -> Pools:
    """All labelled examples of one of the six data sets; see its reader in `official` for its files and options.

    Raises:
        ValueError: another name, a missing file, or a bad row by file and line.
    """
    return READERS[_checks.choice("name", name, READERS)](folder, **options)
