"""What every benchmark of speed needs: repeats that take turns, peak memory, tables, and one line of JSON.

Imports neither torch nor the package's heavy parts before a result is told, so that a process which measures its own
start or memory can use it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from experiments.records import Row, table

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "checkpoints" / "spineseg.safetensors"
Work = Callable[[], object]


# Time


def seconds_of(work: Work) -> float:
    """On the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def take_turns(ways: Mapping[str, Work], repeats: int, *, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each way, `repeats` times, after `warm` turns that do not count.

    The ways take turns, so that a slow minute of the machine falls on all alike, and each turn begins with another one,
    so that none always follows the same.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(warm + repeats):
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            seconds = seconds_of(ways[name])
            if turn >= warm:
                took[name].append(seconds)
    return took


def spread(seconds: Sequence[float]) -> Row:
    """Milliseconds: median, best, and the middle half's width (0 of a single repeat)."""
    quarters = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [0.0, 0.0, 0.0]
    figures = {
        "median ms": statistics.median(seconds),
        "best ms": min(seconds),
        "middle half ms": quarters[2] - quarters[0],
    }
    return {name: round(1000 * value, 3) for name, value in figures.items()}


# Memory

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory_of(work: Work) -> Row:
    """Megabytes that this process holds at the most while it works, and how many of them it did not hold before.

    What was given back to the allocator alone is given back to the system first, and Linux' high-water mark is lowered
    to what is then held; NaN where a system has no such mark.
    """
    _give_back()
    try:
        _RESET.write_text("5")
    except OSError:
        work()
        return {"peak MB": math.nan, "own MB": math.nan}
    before = _held("VmRSS")
    work()
    peak = peak_mb()
    return {"peak MB": round(peak), "own MB": round(max(peak - before, 0))}


def peak_mb() -> float:
    """Megabytes that this process has held at the most since its start or the last `memory_of`; NaN if not known."""
    return _held("VmHWM")


def _give_back() -> None:
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _held(key: str) -> float:
    if not _STATUS.exists():
        return math.nan
    found = re.search(rf"^{key}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else math.nan


# Telling


def options(module: str, description: str | None, repeats: int = 0) -> argparse.ArgumentParser:
    """The options that all share. repeats: their usual number, 0 where nothing is repeated."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=(description or "").split("\n")[0]
    )
    if repeats:
        parser.add_argument("--repeats", type=int, default=repeats, help=f"of each measurement ({repeats})")
    parser.add_argument("--json", type=Path, help="write the last line here as well")
    return parser


def python(code: str, *arguments: str | Path) -> Row:
    """What a fresh interpreter says in its last line of output, as JSON."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def surroundings(device: str, packages: Sequence[str] = ()) -> Row:
    """Commit, hardware and versions, as a checkpoint's card has them; `packages` that are installed besides."""
    from spineseg.training.config import TrainConfig
    from spineseg.training.provenance import origin

    found = origin(TrainConfig(Path(), Path()), 0, 0.0, device)
    versions = found["versions"] | {name: known for name in packages if (known := _version(name))}
    return {
        "commit": found["commit"],
        "hardware": f"{found['hardware']}, {os.cpu_count()} cores, {_processor()}",
        "versions": versions,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Its maker's name for it, where the system tells one."""
    if (known := Path("/proc/cpuinfo")).exists() and (name := re.search(r"model name\s*: (.+)", known.read_text())):
        return name[1].strip()
    return platform.processor() or "an unknown processor"


def tell(
    benchmark: str, settings: Row, place: Row, tables: Mapping[str, Sequence[Row]], to: Path | None = None
) -> None:
    """Print the tables in Markdown, each under its name, then all as one line of JSON, which goes into the file too."""
    from spineseg.io.files import nullified, write_text

    for name, rows in tables.items():
        if rows:
            print(f"\n{name}\n\n{table(rows)}")
    told = {"benchmark": benchmark, "settings": settings, **place, "tables": tables}
    line = json.dumps(nullified(told), allow_nan=False)
    if to:
        to.parent.mkdir(parents=True, exist_ok=True)
        write_text(to, line + "\n")
    print(f"\n{line}")
