"""What goes wrong before and behind the page's own functions: in the log without a word of what a visitor sent.

Gradio prints the errors of requests that it cannot make sense of, and Uvicorn logs those that nobody caught. Their
messages quote the request: a program that sends a path instead of a file would leave its films' names in the log.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

from gradio import queueing, routes

from spineseg.ui.handlers import where

log = logging.getLogger("spineseg.ui")


class Bare(logging.Filter):
    """Of an error the kind and the place in the code, no message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the record, and keeps it."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.msg, record.args, record.exc_info, record.exc_text = f"failed: {where(error)}", (), None, None
        return True


class _Traceback:
    """Stands in for the module of that name where Gradio uses it."""

    def print_exc(self, *_: Any, **__: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            log.error("gradio failed: %s", where(error))

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)


def keep_quiet() -> None:
    """From here on, whatever page this process serves."""
    for module in (queueing, routes):
        vars(module)["traceback"] = _Traceback()
    logging.getLogger("uvicorn.error").addFilter(Bare())
