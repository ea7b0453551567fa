"""The notebooks of docs work: every cell of each is carried out, on small settings, and its page is asked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_documents import LINK

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
SMALL = {"add-a-network": 'DATA, FILMS, ROWS, EPOCHS = "films", 6, 128, 1'}
"""What takes the place of the cell that is tagged as its parameters, as papermill does it."""
MOST_BYTES = 300_000
SHELL = '''
import subprocess
from pathlib import Path

def shell(command):
    """Carry out a command; the page is asked for a film by each of its models, and stopped."""
    if " app " not in command:
        subprocess.run(command, shell=True, check=True)
        return
    with subprocess.Popen(f"exec {command} --port 0", shell=True, stdout=subprocess.PIPE, text=True) as page:
        try:
            ask(next(line for line in page.stdout if "is at" in line).split()[3])
        finally:
            page.kill()

def ask(address):
    import numpy as np
    from gradio_client import Client, handle_file
    from spineseg import to_array

    client = Client(address, verbose=False)
    for name, model in {"mine": models["mine"], "spineseg": models["published"]}.items():
        found = client.predict(handle_file(films[0].film), name, api_name="/segment")
        assert np.array_equal(np.load(found), to_array(model(read_case(films[0]).film).masks)), name
    print("ASKED")
'''


def cells(notebook: Path, kind: str) -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def script(cell: dict[str, Any], settings: str) -> str:
    """A cell as Python, with what IPython adds to it: commands, and files that are written."""
    source = "".join(cell["source"])
    if "parameters" in cell["metadata"].get("tags", ()):
        return settings
    if source.startswith("%%writefile "):
        first, _, text = source.partition("\n")
        return f"Path({first.split()[1]!r}).write_text({text!r})"
    return re.sub(r"^( *)!(.*)$", r'\1shell(f"\2")', source.replace("\\\n", ""), flags=re.MULTILINE)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell(notebook: Path, tmp_path: Path) -> None:
    settings = SMALL[notebook.stem]
    code = "\n".join([SHELL, *(script(cell, settings) for cell in cells(notebook, "code"))])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.stdout.endswith("ASKED\n")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_reader_sees(notebook: Path) -> None:
    """Outputs of a run without failures, small and without a folder of the machine; links that lead on."""
    stored = notebook.read_text(encoding="utf-8")
    outputs = [output for cell in cells(notebook, "code") for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output["output_type"] != "error" for output in outputs)
    assert len(stored) < MOST_BYTES and not re.search(r"/(home|tmp|root|work|usr)/", stored)
    text = "".join("".join(cell["source"]) for cell in cells(notebook, "markdown"))
    assert [link for link in LINK.findall(text) if not (notebook.parent / link).exists()] == []


def test_a_cell_becomes_python() -> None:
    def made(*lines: str) -> str:
        return script({"source": list(lines), "metadata": {}}, "x = 1")

    assert made("if a:\n", "    !run {b} \\\n", "    --c") == 'if a:\n    shell(f"run {b}     --c")'
    assert made("%%writefile a.py\n", "b = 1\n") == "Path('a.py').write_text('b = 1\\n')"
    assert script({"source": ["x = 2"], "metadata": {"tags": ["parameters"]}}, "x = 1") == "x = 1"
