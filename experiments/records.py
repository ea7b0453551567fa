"""What experiments and benchmarks share: results as lines of JSON that survive a stop, tables in Markdown, a log."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def digest(*parts: object) -> str:
    """A short name for settings, which JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Send what is printed, standard error included, to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        yield


def epochs_done(run: Path) -> int:
    """Epochs after which a training in this folder can be resumed; 0 if there is none."""
    states = (run / name / "progress.json" for name in ("state", "state.old"))
    return next((json.loads(path.read_text())["epoch"] for path in states if path.exists()), 0)


def cell(value: object) -> str:
    """A value as a table shows it: numbers to three figures, nothing for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or not math.isfinite(value):
            return f"{value:g}"
        if abs(value) < 1e-3:
            return f"{value:.1e}"
        return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return str(value).replace("|", r"\|")


def table(rows: Sequence[Row]) -> str:
    """Rows in Markdown, with a column for every key of any of them, in the order in which the keys first come."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([cell(row.get(key)) for key in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """A page with new text between each `<!-- name -->` and the next `<!-- end -->`."""
    pattern = re.compile(r"(<!-- ((?!end)\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{blocks[match[2]]}\n{match[3]}", page)
