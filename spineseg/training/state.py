"""What lets a run be stopped and gone on with: its state after each epoch, its settings, and Ctrl+C."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from accelerate import Accelerator

from spineseg.film import BadInput
from spineseg.training.config import TrainConfig

_FIXED = ("architecture", "network", "grid", "validation", "folds", "fold", "patients", "seed", "optimiser", "start")
"""Settings that must be the same when a run is resumed: weights would not fit, or films change sides."""


class Stopped(KeyboardInterrupt):
    """Ctrl+C was pressed, and the run was left in order."""


class StopRequest:
    """While this is entered, the first Ctrl+C sets `made` instead of breaking in; the second does as usual.

    Only where it may: in the main thread of a run of one process, as several would stop at different steps.
    """

    def __init__(self, allowed: bool) -> None:
        self.made = False
        usual = signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None)  # it is ignored in the background
        self._allowed = allowed and usual and threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> StopRequest:
        if self._allowed:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._allowed:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.made = True
        signal.signal(signal.SIGINT, self._before)


def leave_ctrl_c_alone(_worker: int = 0) -> None:
    """For processes that prepare batches: the one that trains decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def holds_run(out: Path) -> bool:
    """Whether the folder holds a run, finished or not."""
    return any((out / name).exists() for name in ("history.jsonl", "state", "state.old"))


def last_state(out: Path) -> Path:
    """The folder of the last state that is whole. Raises BadInput if there is none."""
    for state in (out / "state", out / "state.old"):
        if (state / "progress.json").exists():
            return state
    raise BadInput("expected a run to resume, found no finished epoch; start in another folder without --resume")


def finished_epochs(state: Path) -> int:
    """How many epochs led to that state."""
    return json.loads((state / "progress.json").read_text())["epoch"]


def save_state(accelerator: Accelerator, out: Path, epoch: int) -> None:
    """Replace out/state by the present one, every process its part; the old stays until the new is whole."""
    unfinished, final, old = out / "state.partial", out / "state", out / "state.old"
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (unfinished / "progress.json").write_text(json.dumps({"epoch": epoch}))
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        unfinished.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def check_settings(config: TrainConfig) -> None:
    """Raises BadInput if the run in config.out was made with other settings of those in _FIXED."""
    stored = json.loads((config.out / "config.json").read_text(encoding="utf-8"))
    present = json.loads(json.dumps(asdict(config), default=str))
    changed = [name for name in _FIXED if name in stored and stored[name] != present[name]]
    if changed:
        raise BadInput(f"expected the settings of the run to resume, got another {', '.join(changed)}; set them alike")
