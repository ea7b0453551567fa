"""The commands: `spineseg app | predict | train | evaluate ...`. Each parses, calls, prints.

A command imports what it needs when it runs, so that `--help` waits for no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from spineseg.cli.predict import predict
from spineseg.cli.segment import app, evaluate, show
from spineseg.cli.train import check, check_submission, convert, push, report, simulate, train, train_with
from spineseg.film import BadInput

COMMANDS: dict[str, Callable[..., Any]] = {
    function.__name__.replace("_", "-"): function
    for function in (app, predict, show, simulate, convert, check, train, report, evaluate, check_submission, push)
}


def main(arguments: Sequence[str] | None = None, prog: str = "spineseg") -> int:
    """Run one command; 0 if all went well, 1 if some input could not be used."""
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        commands = {**COMMANDS, "train": train_with(given)}
        return tyro.extras.subcommand_cli_from_dict(commands, prog=prog, args=given)
    except KeyboardInterrupt:
        print("spineseg: stopped", file=sys.stderr)
        return 130
    except BadInput as error:
        print(f"spineseg: {error}", file=sys.stderr)
    except OSError as error:
        print(f"spineseg: {error.strerror or type(error).__name__}: {error.filename or ''}", file=sys.stderr)
    return 1
