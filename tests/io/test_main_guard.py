"""A script that starts worker processes without a guard is told so before any starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import simulate_films

ROOT = Path(__file__).parents[2]
SENTENCE = (
    "spineseg.io.main_guard.NoMainGuard: train.py starts worker processes, and each would run it again; "
    'put what it does under if __name__ == "__main__":'
)
START = """
from pathlib import Path
from spineseg.data.cache import build_cache
from spineseg.io.folder import labelled_films, write_case
from spineseg.model.config import GridConfig
from spineseg.simulate import SimulateConfig, write_folder
grid = GridConfig(64, 48)
print("begun")
def batches():
    from torch.utils.data import DataLoader
    from spineseg.data.dataset import FilmDataset
    cache = build_cache(labelled_films("films"), grid, Path("cache"))
    films = FilmDataset(cache, [0, 1], grid, augmentation=None)
    return list(DataLoader(films, num_workers=1, multiprocessing_context="spawn"))
"""
READ = 'build_cache(labelled_films("films"), grid, Path("two"), processes=2)'
SIMULATE = 'write_folder(Path("more"), 2, 1, SimulateConfig(rows=64), write=write_case, processes=2)'
GUARD = 'if __name__ == "__main__":\n    '


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    simulate_films(folder / "films", 2)
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def script(folder: Path, code: str) -> Path:
    path = folder / "train.py"
    path.write_text(START + code, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (SIMULATE, ["train.py"]),
        (READ, ["-m", "train"]),
        (f"def main():\n    {READ}\n\nmain()", ["train.py"]),
        ("batches()", ["train.py"]),
    ],
)
def test_without_a_guard(folder: Path, code: str, how: list[str]) -> None:
    script(folder, code)
    done = python(folder, *how)
    assert done.returncode == 1 and done.stdout == "begun\n"  # no other process began
    assert done.stderr.splitlines()[-1] == SENTENCE and done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("code", [GUARD + READ, GUARD + "print(len(batches()))"])
def test_with_a_guard(folder: Path, code: str) -> None:
    done = python(folder, str(script(folder, code)))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_notebook_needs_none(folder: Path) -> None:
    """What is typed or sent in is no file that could be imported again."""
    done = python(folder, "-c", f"{START}\n{SIMULATE}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\n", "")


def test_a_package_s_main_needs_none(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "__main__.py").write_text(START + SIMULATE, encoding="utf-8")
    done = python(folder, "-m", "mine")
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\n", "")
