"""The README's map holds: a row imports only from rows above it, and each library has the users that it may have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spineseg"

# Third-party library -> the only folder, or file, that may import it.
ONLY_USERS = {
    "gradio": "ui",
    "SimpleITK": "io",
    "pydicom": "io",
    "highdicom": "io",
    "huggingface_hub": "model",
}
SHORTEST, LONGEST = 60, 400
# Why a file is shorter or longer than that.
OTHER_LENGTHS = {
    "allocator.py": "belongs to none of the folders",
    "__main__.py": "Python asks for it by name",
    "data/preview.py": "pictures of batches, which training needs none of",
    "inference/onnx_network.py": "ONNX Runtime, which only the processor needs",
    "inference/torch_network.py": "torch, which only a card or a network of one's own needs",
    "inference/verdict.py": "the words that every other folder uses",
    "inference/visible_field.py": "one question, asked of the whole picture",
    "io/ahead.py": "predict and evaluate share it",
    "io/main_guard.py": "one question about the running script",
    "io/pictures.py": "PNG written",
    "io/limits.py": "every limit in one place",
    "simulate/anatomy.py": "the order in which a person is painted",
    "simulate/hardware.py": "metal, apart from anatomy",
    "ui/component_stubs.py": "one thing that Gradio is kept from",
    "ui/films_table.py": "one line of the tables of several films",
    "ui/progress.py": "all that is said while a visitor waits",
    "ui/texts.py": "a look-up",
    "ui/mcp_tools.py": "all of MCP, which is off by default",
    "training/provenance.py": "benchmarks record the same",
}


def rows(readme: str) -> list[str]:
    """The first cells of the README's map, in order: `io` for the folder io/, `film` for film.py."""
    table = readme.partition("| `spineseg/` | |")[2].partition("\n\n")[0]
    return [name.removesuffix(".py").strip("/") for name in re.findall(r"^\| `([\w/.]+)` \|", table, re.MULTILINE)]


ROWS = rows((ROOT / "README.md").read_text(encoding="utf-8"))
RANK = {row: rank for rank, row in enumerate(ROWS)}


def imports(source: str, package: str) -> Iterator[str]:
    """Absolute dotted names of all that a file of `package` imports, wherever in the file and for types too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def complaints(row: str, source: str, package: str = "spineseg") -> list[str]:
    """What the imports of a file break, in words; row: its file or folder in the README's map."""
    found = []
    for name in imports(source, package):
        top, _, rest = name.partition(".")
        target, _, inner = rest.partition(".")
        if ONLY_USERS.get(top, row) != row:
            found.append(f"{name}: only {ONLY_USERS[top]} of spineseg imports {top}")
        if top != "spineseg" or target in (row, "__version__"):
            continue
        if target not in RANK:
            found.append(f"{name}: import from the module that defines it")
        elif RANK[target] >= RANK[row]:
            found.append(f"{name}: not in a row above {row}")
        elif any(part.startswith("_") for part in inner.split(".")):
            found.append(f"{name}: private")
    return found


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def row_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_the_readme_lists_every_file_and_folder() -> None:
    assert sorted(ROWS) == sorted({row_of(path) for path in files()})


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_imports_only_from_above(path: Path) -> None:
    package = ".".join(["spineseg", *path.relative_to(PACKAGE).parts[:-1]])
    assert complaints(row_of(path), path.read_text(encoding="utf-8"), package) == []


def test_no_folder_imports_in_a_circle() -> None:
    graph = {}
    for path in files():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        package = name.rpartition(".")[0]
        graph[name] = {target.rpartition(".")[0] for target in imports(path.read_text(encoding="utf-8"), package)}
    list(TopologicalSorter(graph).static_order())


def test_files_are_neither_short_nor_long_without_a_reason() -> None:
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    odd = {
        name for name, count in lines.items() if not SHORTEST <= count <= LONGEST and not name.endswith("__init__.py")
    }
    assert odd == OTHER_LENGTHS.keys()


def test_every_row_has_its_tests() -> None:
    tests = Path(__file__).parent
    assert [row for row in ROWS if not (tests / row).is_dir() and not (tests / f"test_{row}.py").exists()] == [
        "__main__"
    ]


@pytest.mark.parametrize(
    ("row", "source", "package"),
    [
        ("inference", "from spineseg.training.loop import train", "spineseg.inference"),
        ("inference", "from spineseg import training", "spineseg.inference"),
        ("simulate", "from ..data.dataset import FilmDataset", "spineseg.simulate"),
        ("film", "def f():\n    from spineseg.io.films import read_film", "spineseg"),
        ("io", "from spineseg.film import _Secret", "spineseg.io"),
        ("inference", "from spineseg import Film", "spineseg.inference"),
        ("inference", "import gradio as gr", "spineseg.inference"),
        ("training", "from pydicom.uid import UID", "spineseg.training"),
    ],
)
def test_wrong_import_is_found(row: str, source: str, package: str) -> None:
    assert len(complaints(row, source, package)) == 1
