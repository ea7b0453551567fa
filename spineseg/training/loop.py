"""The training loop, top to bottom. Accelerate handles devices, mixed precision and processes.

The loss is averaged per film and `batch` counts the films of all processes, so a run gives the same weights in one
process or several, but for rounding.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from spineseg.data.augment import Transform
from spineseg.data.cache import GridCache, build_cache
from spineseg.data.check import check_names
from spineseg.data.dataset import FilmDataset
from spineseg.data.findings import grouped
from spineseg.data.split import split_films
from spineseg.film import BadInput
from spineseg.io.files import write_text
from spineseg.io.folder import labelled_films
from spineseg.model.architectures import build_network, completed
from spineseg.model.card import Card
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
from spineseg.model.losses import LOSSES, check_targets
from spineseg.model.unet import parameter_count
from spineseg.training.config import TrainConfig, validated
from spineseg.training.history import (
    BEST_FILMS,
    EpochReport,
    EpochScores,
    best_of,
    describe,
    out_of_patience,
    read_history,
    summary,
    write_films,
    write_history,
)
from spineseg.training.optimisation import fastest_precision, make_optimiser, rate_factor, warmed_average
from spineseg.training.provenance import origin
from spineseg.training.report import write_report
from spineseg.training.tensorboard import Curves


class Diverged(BadInput):
    """The loss is no number any more."""


class NoMemory(BadInput):
    """A step does not fit into the device's memory."""


def make_accelerator(config: TrainConfig) -> Accelerator:
    """For one run. The order of the films follows from the seed and the epoch alone.

    Raises BadInput if several processes were started that are not connected: each would write the same files.
    """
    loading = DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True, data_seed=config.seed)
    precision = fastest_precision() if config.precision == "auto" else config.precision
    # Unless told that they run on the CPU, Accelerate does not connect CPU processes.
    cpu = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, dataloader_config=loading)
    if accelerator.num_processes < (started := int(os.environ.get("WORLD_SIZE", "1"))):
        raise BadInput(
            f"expected {started} processes to train together, got each alone; start one, or use accelerate launch --cpu"
        )
    return accelerator


@dataclass(frozen=True, eq=False)
class _Run:
    """State of one training run; made by `_prepare`."""

    config: TrainConfig
    accelerator: Accelerator
    films: FilmDataset
    batches: DataLoader
    validation_batches: DataLoader
    network: nn.Module
    optimiser: Any
    schedule: torch.optim.lr_scheduler.LambdaLR
    average: AveragedModel

    @property
    def quiet(self) -> bool:
        """Whether another process of this machine shows progress."""
        return not self.accelerator.is_local_main_process

    @property
    def held_back(self) -> FilmDataset:
        """The films that nothing is learnt from."""
        return cast(FilmDataset, self.validation_batches.dataset)

    def network_to_save(self) -> nn.Module:
        """The network that is validated and saved: the averaged one, if there is an average."""
        return self.average.module if self.config.average else self.accelerator.unwrap_model(self.network)


def train(
    config: TrainConfig, accelerator: Accelerator | None = None, *, transform: Transform | None = None
) -> list[EpochReport]:
    """Train and write `best` and `last` checkpoints, history.jsonl, best.csv, config.json and report.html.

    Returns a report for each epoch, those before a resumption included. accelerator: from `make_accelerator`, where
    other runs follow in the same processes; without it this run makes one, and ends the processes' group.
    transform: a change of your own for each training film, after those of config.augment.
    Raises BadInput for a folder, label or checkpoint that cannot be used, before the first step (FaultyFolder for what
    `check` calls errors), Diverged if the loss is no number, and NoMemory if a step does not fit; what the last
    finished epoch wrote then stays.
    """
    if not config.resume and _holds_run(config.out):
        raise BadInput("expected an output folder without a run, got one that has one; set --resume or another --out")
    config = validated(config)
    config = replace(config, network=completed(config.architecture, config.network, config.grid))
    set_seed(config.seed)
    run = _prepare(config, used := accelerator or make_accelerator(config), transform)
    reports = _resume(run) if config.resume else []
    if used.is_main_process:
        _announce(run)
        _write_start(config, reports)
    curves = Curves(config.out, config.tensorboard, writing=used.is_main_process, first_epoch=len(reports))
    with curves:
        while len(reports) < min(config.epochs, config.stop_after or config.epochs):
            if out_of_patience(reports, config.patience):
                _say(run, f"no better Dice for {config.patience} epochs: done")
                break
            reports = _train_epoch(run, reports)
            curves.add(reports[-1])
    if used.is_main_process:
        page = write_report(config.out, config.architecture)
        if best := best_of(reports):
            print(f"best: epoch {best.epoch}, mean Dice {best.mean_dice:.3f}, {config.out / 'best.safetensors'}")
        print(f"curves and worst films: {page}")
    if accelerator is None:
        used.end_training()
    return reports


def _train_epoch(run: _Run, reports: list[EpochReport]) -> list[EpochReport]:
    """One more epoch, written down; the reports with its own."""
    epoch, began = len(reports), time.monotonic()
    train_loss = _one_epoch(run, epoch)
    scores, rate = _validate(run), float(run.schedule.get_last_lr()[0])
    seconds = time.monotonic() - began
    report = EpochReport(epoch, train_loss, scores.loss, scores.dice, scores.response, rate, seconds)
    if run.accelerator.is_main_process:
        _save_epoch(run, [*reports, report], scores)
    _say(run, describe(report))
    _save_state(run.accelerator, run.config.out, epoch)
    return [*reports, report]


def _say(run: _Run, text: str) -> None:
    if run.accelerator.is_main_process:
        print(text)


def _announce(run: _Run) -> None:
    """What is odd about films and labels, and how large the run is."""
    for line in grouped([*check_names(run.config.data), *run.films.cache.findings]):
        print(line)
    weights, processes = parameter_count(run.network), run.accelerator.num_processes
    films = f"{len(run.films)} films to train on, {len(run.held_back)} held back, {weights:,} weights"
    print(f"{films}, {run.accelerator.device}" + (f", {processes} processes" if processes > 1 else ""))


def _holds_run(out: Path) -> bool:
    return any((out / name).exists() for name in ("history.jsonl", "state", "state.old"))


def _prepare(config: TrainConfig, accelerator: Accelerator, transform: Transform | None) -> _Run:
    """Films, network, optimiser, schedule and average, on the devices where they will be used."""
    films, held_back = _datasets(config, accelerator, transform)
    batch = min(config.batch, len(films))
    if batch % (processes := accelerator.num_processes):
        raise BadInput(f"expected films per step that {processes} processes share evenly, got {batch}; set --batch")
    # Workers start anew each epoch, because they hold a copy of the dataset and its epoch decides the changes.
    batches = DataLoader(films, batch, shuffle=True, num_workers=config.workers, drop_last=True)
    validation_batches = DataLoader(held_back, batch)
    network = _initial(config)
    optimiser = make_optimiser(network.parameters(), config)
    network, optimiser, batches, validation_batches = accelerator.prepare(
        network, optimiser, batches, validation_batches
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_factor(config, len(batches) * config.epochs))
    average = AveragedModel(accelerator.unwrap_model(network), multi_avg_fn=warmed_average(config.average))
    accelerator.register_for_checkpointing(schedule, average)
    return _Run(config, accelerator, films, batches, validation_batches, network, optimiser, schedule, average)


def _datasets(
    config: TrainConfig, accelerator: Accelerator, transform: Transform | None
) -> tuple[FilmDataset, FilmDataset]:
    """To train on, with random changes; held back, without."""
    labelled = labelled_films(config.data)
    check_names(config.data)
    trained_on, held_back = split_films(labelled, config)
    progress = partial(tqdm, desc="reading films", disable=not accelerator.is_local_main_process)
    with accelerator.local_main_process_first():
        cache = build_cache(labelled, config.grid, config.data / ".cache", processes=config.workers, progress=progress)
    dataset = partial(dataset_of, cache, config)
    return dataset(trained_on, changed=True, transform=transform), dataset(held_back, changed=False)


def dataset_of(
    cache: GridCache, config: TrainConfig, indices: list[int], *, changed: bool, transform: Transform | None = None
) -> FilmDataset:
    """Films of the cache as the configuration wants them, with its random changes or without."""
    return FilmDataset(
        cache,
        indices,
        config.grid,
        augmentation=config.augment if changed else None,
        out_channels=config.network.out_channels,
        transform=transform,
        stride=config.network.patch,
        seed=config.seed,
    )


def _initial(config: TrainConfig) -> nn.Module:
    if config.init is None:
        return build_network(config.architecture, config.network)
    network, card = load_checkpoint(config.init, config.architecture)
    if card.network != config.network or card.grid != config.grid:
        raise BadInput("expected a checkpoint of the same network and grid to start from, got another; set them alike")
    return network


def _one_epoch(run: _Run, epoch: int) -> float:
    """One pass over the films to train on; the mean loss of its steps."""
    run.films.epoch = epoch
    run.batches.set_epoch(epoch)  # type: ignore[attr-defined]
    run.network.train()
    total = 0.0
    with tqdm(run.batches, desc=f"epoch {epoch}", disable=run.quiet) as bar:
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
    return total / max(len(run.batches), 1)


def _without_memory(run: _Run, films: int) -> str:
    """The sentence, for a step of so many films."""
    pieces = run.config.accumulate
    at_once = math.ceil(films / pieces)
    advice = (
        f"set --accumulate {2 * pieces}, the same step in smaller pieces" if at_once > 1 else "choose a smaller grid"
    )
    return f"expected memory on {run.accelerator.device} for {at_once} films at once, got too little; {advice}"


def _one_step(run: _Run, images: Tensor, targets: Tensor) -> float:
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


def _change_weights(run: _Run) -> None:
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
def _validate(run: _Run) -> EpochScores:
    network = run.network_to_save().eval()
    scores = EpochScores(run.config.network.out_channels)
    for images, targets in run.validation_batches:
        with run.accelerator.autocast():
            logits = network(images)
        logits, targets = run.accelerator.gather_for_metrics((logits.float(), targets))
        scores.add(LOSSES[run.config.loss](logits, targets).item(), torch.sigmoid(logits), targets)
    return scores


def _write_start(config: TrainConfig, earlier: list[EpochReport]) -> None:
    """The configuration, and the history up to where this run goes on."""
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / "config.json", json.dumps(asdict(config), indent=2, default=str) + "\n")
    if config.resume:
        write_history(config.out, earlier)


def _save_epoch(run: _Run, reports: list[EpochReport], scores: EpochScores) -> None:
    """Checkpoints and history after the last of the reports' epochs."""
    config, seconds = run.config, sum(report.seconds for report in reports)
    card = Card(
        config.name,
        config.grid,
        config.network,
        config.decoder,
        config.description,
        origin(config, len(run.films), seconds, str(run.accelerator.device)),
        {"held back": summary(reports[-1])},
        config.architecture,
    )
    save_checkpoint(config.out / "last.safetensors", run.network_to_save(), card)
    if best_of(reports) is reports[-1]:
        save_checkpoint(config.out / "best.safetensors", run.network_to_save(), card)
        write_films(config.out / BEST_FILMS, run.held_back.names, scores.film_dice)
    write_history(config.out, reports)


def _save_state(accelerator: Accelerator, out: Path, epoch: int) -> None:
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


def _resume(run: _Run) -> list[EpochReport]:
    """Take up the last state; the reports of the epochs before it.

    An epoch that was cut short after its line in the history is forgotten and trained again.
    """
    out = run.config.out
    state = next((p for p in (out / "state", out / "state.old") if (p / "progress.json").exists()), None)
    if state is None:
        raise BadInput("expected a run to resume, found no finished epoch; start in another folder without --resume")
    _check_settings(run.config)
    run.accelerator.load_state(str(state))
    finished = json.loads((state / "progress.json").read_text())["epoch"]
    return [report for report in read_history(out) if report.epoch <= finished]


_FIXED = ("architecture", "network", "grid", "validation", "folds", "fold", "patients", "seed", "optimiser")
"""Settings that must be the same when a run is resumed: weights would not fit, or films change sides."""


def _check_settings(config: TrainConfig) -> None:
    """Raises BadInput if the run in config.out was made with other settings of those in _FIXED."""
    stored = json.loads((config.out / "config.json").read_text(encoding="utf-8"))
    present = json.loads(json.dumps(asdict(config), default=str))
    changed = [name for name in _FIXED if name in stored and stored[name] != present[name]]
    if changed:
        raise BadInput(f"expected the settings of the run to resume, got another {', '.join(changed)}; set them alike")
