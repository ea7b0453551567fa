"""Worker processes that Python spawns import the running script again, so what starts them must be guarded there."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from types import FrameType

from spineseg.film import BadInput


class NoMainGuard(BadInput):
    """A script that starts worker processes whenever it is imported."""


def require_main_guard() -> None:
    """Raise NoMainGuard where each spawned process would carry out again what the running script is doing.

    The line being carried out must stand under some `if`. A notebook, a prompt and a package's `__main__.py` are not
    imported again, so they need no guard.
    """
    script = _running_script()
    if script and not _under_if(Path(script.f_code.co_filename), script.f_lineno):
        raise NoMainGuard(
            f"{Path(script.f_code.co_filename).name} starts worker processes, and each would run it again; "
            'put what it does under if __name__ == "__main__":'
        )


def _running_script() -> FrameType | None:
    """The outermost frame of the file that spawned processes import, if such a file is being carried out."""
    main = sys.modules["__main__"]
    if getattr(getattr(main, "__spec__", None), "name", "").endswith("__main__"):
        return None
    frame = inspect.currentframe()
    while frame and not (frame.f_code.co_name == "<module>" and frame.f_globals is vars(main)):
        frame = frame.f_back
    return frame if frame and Path(frame.f_code.co_filename).is_file() else None


def _under_if(script: Path, line: int) -> bool:
    """Whether a line of the script belongs to an `if`."""
    tree = ast.walk(ast.parse(script.read_bytes()))
    return any(isinstance(node, ast.If) and node.lineno <= line <= (node.end_lineno or 0) for node in tree)
