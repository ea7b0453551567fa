"""The training loop, top to bottom. Accelerate handles devices, mixed precision and processes.

The loss is averaged per film and `batch` counts the films of all processes, so a run gives the same weights in one
process or several, but for rounding.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from tqdm import tqdm

from spineseg.data.augment import Transform
from spineseg.data.check import check_names
from spineseg.data.findings import grouped
from spineseg.film import BadInput
from spineseg.io.files import write_text
from spineseg.model.card import Card, read_card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.losses import LOSSES, check_targets
from spineseg.model.unet import parameter_count
from spineseg.training.config import SCRATCH, TrainConfig
from spineseg.training.fit import Parts, fit_to_folder, what_is_done
from spineseg.training.full_size import write_split
from spineseg.training.history import (
    BEST_FILMS,
    EpochReport,
    EpochScores,
    best_of,
    describe,
    epochs_done,
    out_of_patience,
    read_history,
    summary,
    write_films,
    write_history,
)
from spineseg.training.outcome import conclude, leave_in_order
from spineseg.training.prepare import Run, initial_network, make_accelerator, prepare
from spineseg.training.provenance import origin
from spineseg.training.state import (
    Stopped,
    StopRequest,
    check_settings,
    finished_epochs,
    holds_run,
    last_state,
    save_state,
)
from spineseg.training.tensorboard import Curves, require_tensorboard


class Diverged(BadInput):
    """The loss is no number any more."""


class NoMemory(BadInput):
    """A step does not fit into the device's memory."""


def train(
    config: TrainConfig, accelerator: Accelerator | None = None, *, transform: Transform | None = None
) -> list[EpochReport]:
    """Train and write `best` and `last` checkpoints, history.jsonl, best.csv, split.csv, config.json and report.html.

    Returns a report for each epoch, those before a resumption included; where a checkpoint is fine-tuned, first one of
    it as it was, epoch 0. At the end the films held back are scored at full size. accelerator: from `make_accelerator`,
    where other runs follow in the same processes; without it this run makes one, and ends the processes' group.
    transform: a change of your own for each training film, after those of config.augment.
    Raises BadInput for a folder, label or checkpoint that cannot be used, before the first step (FaultyFolder for what
    `check` calls errors), Diverged if the loss is no number, NoMemory if a step does not fit, and Stopped after Ctrl+C;
    what the last finished epoch wrote then stays.
    """
    _refuse_early(config)
    config, parts = fit_to_folder(config)
    if config.resume:
        check_settings(config)
    set_seed(config.seed)
    run = prepare(config, parts, used := accelerator or make_accelerator(config), transform)
    reports = _resume(run) if config.resume else []
    if used.is_main_process:
        _announce(run)
        _write_start(config, parts, reports)
    try:
        with StopRequest(allowed=used.num_processes == 1) as stop:
            reports = _all_epochs(run, reports, stop)
    except Stopped as stopped:
        leave_in_order(config)
        raise Stopped from stopped
    if used.is_main_process:
        conclude(config, parts, reports)
    if accelerator is None:
        used.end_training()
    return reports


def _refuse_early(config: TrainConfig) -> None:
    """Raises BadInput for what needs no look at the films."""
    if config.resume:
        last_state(config.out)
    elif holds_run(config.out):
        raise BadInput("expected an output folder without a run, got one that has one; set --resume or another --out")
    if config.tensorboard:
        require_tensorboard()


def _all_epochs(run: Run, reports: list[EpochReport], stop: StopRequest) -> list[EpochReport]:
    """Train until nothing is left to do; the reports of all epochs. Raises Stopped."""
    config, wanted = run.config, cast(int, run.config.epochs)
    if not reports and config.start != SCRATCH:
        reports = _score_start(run)
    writing, done = run.accelerator.is_main_process, epochs_done(reports)
    with Curves(config.out, config.tensorboard, writing=writing, first_epoch=done + 1) as curves:
        while epochs_done(reports) < min(wanted, config.stop_after or wanted):
            if out_of_patience(reports, config.patience):
                _say(run, f"no better Dice for {config.patience} epochs: done")
                break
            reports = _train_epoch(run, reports, stop)
            curves.add(reports[-1])
    return reports


def _score_start(run: Run) -> list[EpochReport]:
    """What the checkpoint gives before any step, as epoch 0; it is the best until an epoch does better."""
    began = time.monotonic()
    scores = _validate(run)
    report = EpochReport(0, math.nan, scores.loss, scores.dice, scores.response, 0.0, time.monotonic() - began)
    if run.accelerator.is_main_process:
        start = run.config.start
        assert start != SCRATCH
        save_checkpoint(run.config.out / "best.safetensors", initial_network(run.config), read_card(start))
        write_films(run.config.out / BEST_FILMS, run.held_back.names, scores.film_dice)
        write_history(run.config.out, [report])
    _say(run, describe(report))
    return [report]


def _train_epoch(run: Run, reports: list[EpochReport], stop: StopRequest) -> list[EpochReport]:
    """One more epoch, written down; the reports with its own. Raises Stopped."""
    epoch, began = epochs_done(reports) + 1, time.monotonic()
    train_loss = _one_epoch(run, epoch, stop)
    scores, rate = _validate(run), float(run.schedule.get_last_lr()[0])
    seconds = time.monotonic() - began
    report = EpochReport(epoch, train_loss, scores.loss, scores.dice, scores.response, rate, seconds)
    if run.accelerator.is_main_process:
        _save_epoch(run, [*reports, report], scores)
    _say(run, describe(report))
    save_state(run.accelerator, run.config.out, epoch)
    return [*reports, report]


def _say(run: Run, text: str) -> None:
    if run.accelerator.is_main_process:
        print(text)


def _announce(run: Run) -> None:
    """What is odd about films and labels, what is being done, and how large the network is."""
    for line in grouped([*check_names(run.config.data), *run.films.cache.findings]):
        print(line)
    weights, processes = parameter_count(run.network), run.accelerator.num_processes
    print(what_is_done(run.config, len(run.films.indices), len(run.held_back)))
    print(f"{weights:,} weights, {run.accelerator.device}" + (f", {processes} processes" if processes > 1 else ""))


def _one_epoch(run: Run, epoch: int, stop: StopRequest) -> float:
    """One pass over the films to train on; the mean loss of its steps. epoch: from 1. Raises Stopped."""
    run.films.epoch = epoch - 1
    run.batches.set_epoch(epoch - 1)  # type: ignore[attr-defined]
    run.network.train()
    total = 0.0
    with tqdm(run.batches, desc=f"epoch {epoch} of {run.config.epochs}", disable=run.quiet) as bar:
        for step, (images, targets) in enumerate(bar, 1):
            if run.config.check_targets:
                check_targets(targets)
            try:
                loss = _one_step(run, images, targets)
            except torch.OutOfMemoryError:
                raise NoMemory(_without_memory(run, len(images))) from None
            if not math.isfinite(loss):
                raise Diverged(
                    f"expected a finite loss, got {loss} in step {step} of epoch {epoch}; go on from the last finished"
                    " epoch with --resume and a lower --learning-rate"
                )
            total += loss
            bar.set_postfix(loss=f"{total / step:.4f}")
            if stop.made:
                raise Stopped
    return total / max(len(run.batches), 1)


def _without_memory(run: Run, films: int) -> str:
    """The sentence, for a step of so many films."""
    pieces = run.config.accumulate
    at_once = math.ceil(films / pieces)
    advice = (
        f"set --accumulate {2 * pieces}, the same step in smaller pieces" if at_once > 1 else "choose a smaller grid"
    )
    return f"expected memory on {run.accelerator.device} for {at_once} films at once, got too little; {advice}"


def _one_step(run: Run, images: Tensor, targets: Tensor) -> float:
    """Change the weights by one batch, unless its loss is no number; the mean loss over all processes."""
    pieces = list(zip(*(batch.chunk(run.config.accumulate) for batch in (images, targets)), strict=True))
    total = torch.zeros((), device=images.device)
    for number, (image, target) in enumerate(pieces, 1):
        # Gradients travel between processes with the last piece.
        with nullcontext() if number == len(pieces) else run.accelerator.no_sync(run.network):
            with run.accelerator.autocast():
                logits = run.network(image)
            loss = LOSSES[run.config.loss](logits.float(), target) * (len(image) / len(images))
            run.accelerator.backward(loss)
        total += loss.detach()
    mean = float(cast(Tensor, run.accelerator.reduce(total, "mean")))
    if math.isfinite(mean):
        _change_weights(run)
    return mean


def _change_weights(run: Run) -> None:
    """By the gradients that have been gathered."""
    if run.config.clip_norm:
        run.accelerator.clip_grad_norm_(run.network.parameters(), run.config.clip_norm)
    run.optimiser.step()
    if not run.accelerator.optimizer_step_was_skipped:  # as fp16 does after an overflow
        run.schedule.step()
    run.optimiser.zero_grad(set_to_none=True)
    if run.config.average:
        run.average.update_parameters(run.accelerator.unwrap_model(run.network))


@torch.no_grad()
def _validate(run: Run) -> EpochScores:
    network = run.network_to_save().eval()
    scores = EpochScores(run.config.network.out_channels)
    for images, targets in run.validation_batches:
        with run.accelerator.autocast():
            logits = network(images)
        logits, targets = run.accelerator.gather_for_metrics((logits.float(), targets))
        scores.add(LOSSES[run.config.loss](logits, targets).item(), torch.sigmoid(logits), targets)
    return scores


def _write_start(config: TrainConfig, parts: Parts, earlier: list[EpochReport]) -> None:
    """The configuration, which film is for what, and the history up to where this run goes on."""
    config.out.mkdir(parents=True, exist_ok=True)
    write_split(config.out, parts.files(parts.trained_on), parts.files(parts.held_back))
    write_text(config.out / "config.json", json.dumps(asdict(config), indent=2, default=str) + "\n")
    if config.resume:
        write_history(config.out, earlier)


def _save_epoch(run: Run, reports: list[EpochReport], scores: EpochScores) -> None:
    """Checkpoints and history after the last of the reports' epochs."""
    config, seconds = run.config, sum(report.seconds for report in reports)
    card = Card(
        config.name,
        config.grid,
        config.network,
        config.decoder,
        config.description,
        origin(config, len(run.films.indices), seconds, str(run.accelerator.device)),
        {"held back": summary(reports[-1])},
        config.architecture,
    )
    save_checkpoint(config.out / "last.safetensors", run.network_to_save(), card)
    if best_of(reports) is reports[-1]:
        save_checkpoint(config.out / "best.safetensors", run.network_to_save(), card)
        write_films(config.out / BEST_FILMS, run.held_back.names, scores.film_dice)
    write_history(config.out, reports)


def _resume(run: Run) -> list[EpochReport]:
    """Take up the last state; the reports of the epochs before it.

    An epoch that was cut short after its line in the history is forgotten and trained again.
    """
    state = last_state(run.config.out)
    run.accelerator.load_state(str(state))
    return [report for report in read_history(run.config.out) if report.epoch <= finished_epochs(state)]
