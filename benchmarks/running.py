"""What every long benchmark needs: results as lines of JSON that survive a stop, and training's talk in a log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from spineseg.io.files import write_text

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """One for each line of the file; none if there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """All rows into a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Send what is printed, standard error included, to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        yield


def epochs_done(out: Path) -> int:
    """Epochs after which a training in this folder can be resumed; 0 if there is none."""
    states = (out / name / "progress.json" for name in ("state", "state.old"))
    return next((json.loads(path.read_text())["epoch"] + 1 for path in states if path.exists()), 0)
