"""Data flows one way: a file imports only from the rows above its own, and some libraries have one user only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spineseg"

# A new file gets its place here first. Files of one row do not import each other.
ROWS = (
    ("film", "files", "heaps", "limits"),
    ("dicom", "dicom_seg", "labels", "patients"),
    ("isolate",),
    ("grid",),
    ("visible",),
    ("augment", "simulate", "levels", "network", "losses", "metrics", "render"),
    ("geometry",),
    ("measure",),
    ("checkpoint", "views"),
    ("dataset", "recipe", "hub"),
    ("folds", "history", "optimiser"),
    ("run_report", "tensorboard"),
    ("train", "predict", "check"),
    ("crossval",),
    ("evaluate", "convert", "handin"),
    ("ui",),
    ("__main__",),
)
RANK = {module: rank for rank, row in enumerate(ROWS) for module in row}

# Third-party library -> the only modules of the package that may import it.
ONLY_USERS = {
    "gradio": ("ui",),
    "SimpleITK": ("dicom",),
    "pydicom": ("dicom", "patients"),
    "huggingface_hub": ("hub",),
    "highdicom": ("dicom_seg",),
}

# A helper lives beside its user.
BANNED_NAMES = {"utils", "util", "helpers", "common", "misc"}


def imports(source: str, package: str) -> Iterator[str]:
    """Absolute dotted names of all that a file of `package` imports, wherever in the file and for types too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def complaints(module: str, source: str, package: str = "spineseg") -> list[str]:
    """What the imports of `module` (a row's name; for a folder's files, the folder's) break, in words."""
    found = []
    for name in imports(source, package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if module not in ONLY_USERS.get(top, (module,)):
            found.append(f"{name}: only {' and '.join(ONLY_USERS[top])} of spineseg import {top}")
        if top != "spineseg" or target in (module, "__version__"):
            continue
        if target not in RANK:
            found.append(f"{name}: import from the module that defines it")
        elif RANK[target] >= RANK[module]:
            found.append(f"{name}: not in a row above {module}")
        elif module == "__main__" and target == "ui":
            found.append(f"{name}: the commands do without the page")
    return found


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_file_has_its_place() -> None:
    assert {module_of(path) for path in files()} <= RANK.keys(), "place the new file in ROWS"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_imports_only_from_above(path: Path) -> None:
    module = module_of(path)
    if module in RANK:  # where it is not, the test above says so
        package = ".".join(["spineseg", *path.relative_to(PACKAGE).parts[:-1]])
        assert complaints(module, path.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_catches_only_named_errors(path: Path) -> None:
    handlers = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ExceptHandler)]
    assert [handler.lineno for handler in handlers if handler.type is None] == []


def test_every_module_has_its_tests() -> None:
    tests = Path(__file__).parent
    assert {
        module for module in map(module_of, files()) if not list(tests.glob(f"test_{module.strip('_')}*.py"))
    } == set()


def test_no_drawer_for_odds_and_ends() -> None:
    assert [path for path in PACKAGE.rglob("*") if path.stem in BANNED_NAMES] == []


@pytest.mark.parametrize(
    ("module", "source", "package"),
    [
        ("grid", "from spineseg.train import TrainConfig", "spineseg"),
        ("grid", "import spineseg.train", "spineseg"),
        ("grid", "from spineseg import train", "spineseg"),
        ("grid", "from . import train", "spineseg"),
        ("grid", "from .train import TrainConfig", "spineseg"),
        ("grid", "def f():\n    from spineseg.train import TrainConfig", "spineseg"),
        ("simulate", "from ..dataset import split", "spineseg.simulate"),
        ("labels", "from spineseg.dicom import read_film", "spineseg"),
        ("predict", "from spineseg import Film", "spineseg"),
        ("predict", "import gradio as gr", "spineseg"),
        ("train", "from pydicom.uid import UID", "spineseg"),
        ("__main__", "from spineseg.ui import page", "spineseg"),
    ],
)
def test_wrong_import_is_found(module: str, source: str, package: str) -> None:
    assert len(complaints(module, source, package)) == 1


@pytest.mark.parametrize(
    ("module", "source", "package"),
    [
        ("grid", "import numpy as np\nfrom spineseg.film import Film", "spineseg"),
        ("simulate", "from .shape import outline\nfrom ..film import Film", "spineseg.simulate"),
        ("simulate", "from spineseg.simulate.shape import outline", "spineseg.simulate"),
        ("ui", "import gradio as gr\nfrom spineseg.predict import Segmenter", "spineseg.ui"),
        ("checkpoint", "from spineseg import __version__", "spineseg"),
    ],
)
def test_right_import_is_let_through(module: str, source: str, package: str) -> None:
    assert complaints(module, source, package) == []
