"""Execute notebooks, each in a fresh kernel of this interpreter; as a script, write their outputs back, at full settings.

    python -m tests.notebooks.execute [01 05 ...]

No kernel needs to be installed, and nothing is left behind: connection file, history and profile lie in a temporary folder.
What is written depends on the cells alone: no times, no widget states, no paths.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK, FULL = "QUICK = True", "QUICK = False"  # the line in a notebook's first code cell that says how much to sample
WITHOUT_WIDGETS = "import sys\nsys.modules['ipywidgets'] = None"  # importing it then raises ImportError
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SECONDS = 250  # for a cell


class ThisInterpreter(AsyncKernelManager):
    """A kernel of the interpreter that runs this, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def executed(notebook: NotebookNode, *, quick: bool, before: str = "", after: str = "") -> NotebookNode:
    """The notebook with the outputs of a run of its cells, and of hidden cells before and after them.

    Args:
        notebook: stays as it is.
        quick: whether to set QUICK in the first code cell.
        before, after: code to run around it, whose outputs are not kept.

    Raises:
        CellExecutionError: a cell raised.
    """
    run = nbformat.from_dict(notebook)
    if quick:
        first = next(cell for cell in run.cells if cell.cell_type == "code")
        assert first.source.count(FULL) == 1, "the first code cell says QUICK = False"
        first.source = first.source.replace(FULL, QUICK)
    around = [nbformat.v4.new_code_cell(source) for source in (before, after)]
    run.cells = [around[0], *run.cells, around[1]]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": folder, "OPENBLAS_NUM_THREADS": "1"}
        client = NotebookClient(run, timeout=SECONDS, record_timing=False, store_widget_state=False)
        client.km = ThisInterpreter(connection_file=str(Path(folder) / "kernel.json"))
        if os.name == "posix":  # files in the folder in place of ports that anyone on the machine could listen to
            client.km.transport, client.km.ip = "ipc", str(Path(folder) / "kernel")
        asyncio.run(client.async_execute(env=environment, cwd=folder))
    run.cells = run.cells[1:-1]
    return run


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook as it is kept: cells named and counted in order, no metadata but the kernel's, no widgets."""
    kept = nbformat.from_dict(notebook)
    kept.metadata = nbformat.from_dict(METADATA)
    count = 0
    for place, cell in enumerate(kept.cells):
        cell.id, cell.metadata = f"cell-{place:02d}", {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if "metadata" in output:
                output.metadata = {}
            if "execution_count" in output:
                output.execution_count = count
    nbformat.validate(kept)
    return kept


def main(names: Sequence[str]) -> None:
    """The sliders are live only where a kernel is: what is kept is the picture that is drawn without them."""
    for path in NOTEBOOKS:
        if not names or path.name.startswith(tuple(names)):
            nbformat.write(cleaned(executed(read(path), quick=False, before=WITHOUT_WIDGETS)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
