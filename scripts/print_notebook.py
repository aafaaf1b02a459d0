"""Run a notebook headless on the kernel `deephaven` and print its cells with their outputs as text.

Used by `scripts/quickstart`. Any front end would do: it speaks to the kernel over nbclient, as `jupyter execute` does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main(path: Path) -> int:
    """Run the notebook at `path`; 1 if a cell failed or there was nothing to show."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, kernel_name="deephaven", timeout=300, resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute()
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    shown = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        print("\n".join(f">>> {line}" for line in cell.source.splitlines()))
        for text in output_texts(cell.outputs):
            shown += 1
            print(text.rstrip("\n"))
        print()
    print(f"{path.name}: {shown} outputs.")
    return 0 if shown else 1


def output_texts(outputs: list[dict[str, Any]]) -> Iterator[str]:
    """The outputs of a cell as a terminal would show them."""
    for output in outputs:
        if output["output_type"] == "stream":
            yield output["text"]
        elif "text/plain" in output.get("data", {}):
            yield output["data"]["text/plain"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
