"""The training loop, top to bottom. Devices, mixed precision and processes are Accelerate's business."""

from __future__ import annotations

import json
import math
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from spineseg.augment import AugmentConfig
from spineseg.checkpoint import Card, Decoder, load_checkpoint, save_checkpoint
from spineseg.dataset import FilmDataset, build_cache, pairs_in, split_by_film
from spineseg.film import VERTEBRAE, BadInput
from spineseg.grid import GridConfig
from spineseg.losses import LOSSES, LossName, check_targets
from spineseg.network import UNet, UNetConfig, parameter_count


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run is made of; saved beside it as config.json."""

    data: Path
    """Folder with img/*.dcm and label/*.mat or *.npy."""
    out: Path
    """Where checkpoints and history go."""
    name: str = "spineseg"
    """Name of the checkpoint."""
    network: UNetConfig = field(default_factory=UNetConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossName = "bce+dice"
    epochs: int = 20
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 100
    average: float = 0.998
    """Share of the old value in the moving average of the weights, per step; 0 turns it off."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    validation: float = 0.05
    """Share of the films held back, whole films."""
    seed: int = 0
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """auto: fp16 on a CUDA device, bf16 on a processor that multiplies in it, else none."""
    workers: int = 1
    """Processes that prepare batches beside the training process."""
    init: Path | None = None
    """Start from this checkpoint's weights instead of random ones."""
    resume: bool = False
    """Go on from the last finished epoch in `out`."""
    decoder: Decoder = "ordered"
    description: str = ""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave, on the held-back films.

    dice: per vertebra, NaN where absent from every film. response: channel x vertebra mean probability; a diagonal
    is a network that tells levels apart, an even band one that does not.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    dice: list[float]
    response: list[list[float]]
    learning_rate: float
    seconds: float

    @property
    def mean_dice(self) -> float:
        """Mean over the vertebrae."""
        return float(np.nanmean(self.dice))


def _precision(config: TrainConfig, accelerator_cuda: bool) -> str:
    if config.precision != "auto":
        return config.precision
    if accelerator_cuda:
        return "fp16"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no"


def _schedule(config: TrainConfig, steps: int) -> Any:
    """Linear warm-up, then half a cosine to zero."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / max(steps - config.warmup_steps, 1), 1)))

    return factor


def _commit() -> str:
    """The commit of the working tree, with -dirty where files differ; "unknown" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def origin(config: TrainConfig, films: int, seconds: float, device: str) -> dict[str, Any]:
    """Where a checkpoint came from, for its card."""
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    return {
        "command": "python -m spineseg " + " ".join(sys.argv[1:]),
        "commit": _commit(),
        "films": films,
        "seconds": round(seconds),
        "hardware": f"{device}, {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in ("torch", "numpy", "accelerate")}},
        "settings": settings,
    }


class _Scores:
    """Soft counts gathered over batches: Dice at 0.5 per film and vertebra, and the response matrix."""

    def __init__(self, channels: int) -> None:
        self.loss, self.films = 0.0, 0
        self.dice: list[np.ndarray] = []
        self.response = np.zeros((channels, len(VERTEBRAE)))
        self.area = np.zeros(len(VERTEBRAE))

    def add(self, loss: float, probability: Tensor, targets: Tensor) -> None:
        vertebrae = targets[:, : len(VERTEBRAE)]
        found, true = probability[:, : len(VERTEBRAE)] > 0.5, vertebrae > 0.5
        both, total = (found & true).sum((2, 3)), found.sum((2, 3)) + true.sum((2, 3))
        dice = torch.where(true.any(3).any(2), 2 * both / total.clamp(min=1), torch.nan)
        self.dice.append(dice.cpu().numpy())
        self.response += torch.einsum("fcyx,fvyx->cv", probability, vertebrae).cpu().numpy()
        self.area += vertebrae.sum((0, 2, 3)).cpu().numpy()
        self.loss += loss * len(targets)
        self.films += len(targets)

    def result(self) -> tuple[float, list[float], list[list[float]]]:
        films = np.concatenate(self.dice)
        seen = ~np.isnan(films)
        dice = np.where(seen.any(0), np.where(seen, films, 0).sum(0) / np.maximum(seen.sum(0), 1), np.nan)
        response = self.response / np.maximum(self.area, 1e-9)
        return self.loss / max(self.films, 1), dice.round(4).tolist(), response.round(4).tolist()


@torch.no_grad()
def _validate(network: nn.Module, batches: DataLoader, loss_name: LossName, accelerator: Accelerator, channels: int) -> _Scores:
    network.eval()
    scores = _Scores(channels)
    for images, targets in batches:
        with accelerator.autocast():
            logits = network(images)
        logits, targets = accelerator.gather_for_metrics((logits.float(), targets))
        scores.add(LOSSES[loss_name](logits, targets).item(), torch.sigmoid(logits), targets)
    return scores


def _endless_check(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    for images, targets in batches:
        check_targets(targets)
        yield images, targets


def _save_state(accelerator: Accelerator, out: Path, epoch: int, best: float) -> None:
    """Replace out/state by the present one; the old stays until the new is whole."""
    partial, final = out / "state.partial", out / "state"
    shutil.rmtree(partial, ignore_errors=True)
    accelerator.save_state(str(partial))
    (partial / "progress.json").write_text(json.dumps({"epoch": epoch, "best": best}))
    shutil.rmtree(out / "state.old", ignore_errors=True)
    if final.exists():
        final.rename(out / "state.old")
    partial.rename(final)
    shutil.rmtree(out / "state.old", ignore_errors=True)


def _resume(accelerator: Accelerator, out: Path) -> tuple[int, float]:
    state = next((p for p in (out / "state", out / "state.old") if (p / "progress.json").exists()), None)
    if state is None:
        raise BadInput("expected a run to resume, found none in the output folder; start without --resume")
    accelerator.load_state(str(state))
    progress = json.loads((state / "progress.json").read_text())
    return int(progress["epoch"]) + 1, float(progress["best"])


def _initial(config: TrainConfig) -> UNet:
    if config.init is None:
        return UNet(config.network)
    network, card = load_checkpoint(config.init)
    if card.network != config.network or card.grid != config.grid:
        raise BadInput("expected a checkpoint of the same network and grid to start from, got another; set them alike")
    return network


def train(config: TrainConfig) -> list[EpochReport]:
    """Train and write `best` and `last` checkpoints, history.jsonl and config.json into config.out.

    Raises BadInput for a folder, label or checkpoint that cannot be used, before the first step.
    """
    if config.network.in_channels != config.grid.channels:
        config = replace(config, network=replace(config.network, in_channels=config.grid.channels))
    set_seed(config.seed)
    accelerator = Accelerator(mixed_precision=_precision(config, torch.cuda.is_available()))
    config.out.mkdir(parents=True, exist_ok=True)
    pairs = pairs_in(config.data)
    quiet = not accelerator.is_local_main_process
    with accelerator.main_process_first():
        cache = build_cache(
            pairs, config.grid, config.data / ".cache", progress=lambda films: tqdm(films, desc="reading films", disable=quiet)
        )
    trained_on, held_back = split_by_film(len(pairs), config.validation, config.seed)
    shared = {"grid": config.grid, "out_channels": config.network.out_channels, "stride": config.network.patch, "seed": config.seed}
    films = FilmDataset(cache, trained_on, augmentation=config.augment, **shared)
    # Workers start anew each epoch, because they hold a copy of the dataset and its epoch decides the changes.
    batches = DataLoader(films, config.batch, shuffle=True, num_workers=config.workers, drop_last=len(films) >= config.batch)
    checks = DataLoader(FilmDataset(cache, held_back, augmentation=None, **shared), config.batch)
    network = _initial(config)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    network, optimiser, batches, checks = accelerator.prepare(network, optimiser, batches, checks)
    steps = len(batches) * config.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _schedule(config, steps))
    average = AveragedModel(accelerator.unwrap_model(network), multi_avg_fn=get_ema_multi_avg_fn(config.average))
    accelerator.register_for_checkpointing(schedule, average)
    first, best = _resume(accelerator, config.out) if config.resume else (0, -1.0)
    if accelerator.is_main_process:
        (config.out / "config.json").write_text(json.dumps(asdict(config), indent=2, default=str) + "\n")
    if accelerator.is_local_main_process:
        print(f"{len(films)} films to train on, {len(held_back)} held back, {parameter_count(network):,} weights, {accelerator.device}")
    began, reports = time.monotonic(), []
    for epoch in range(first, config.epochs):
        films.epoch, epoch_began = epoch, time.monotonic()
        batches.set_epoch(epoch)
        network.train()
        total = 0.0
        with tqdm(_endless_check(iter(batches)), total=len(batches), desc=f"epoch {epoch}", disable=quiet) as bar:
            for step, (images, targets) in enumerate(bar, 1):
                with accelerator.autocast():
                    logits = network(images)
                loss = LOSSES[config.loss](logits.float(), targets)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(network.parameters(), config.clip_norm)
                optimiser.step()
                schedule.step()
                optimiser.zero_grad(set_to_none=True)
                if config.average:
                    average.update_parameters(accelerator.unwrap_model(network))
                total += loss.item()
                bar.set_postfix(loss=f"{total / step:.4f}")
        judged = average.module if config.average else accelerator.unwrap_model(network)
        scores = _validate(judged, checks, config.loss, accelerator, config.network.out_channels)
        validation_loss, dice, response = scores.result()
        report = EpochReport(
            epoch, total / max(len(batches), 1), validation_loss, dice, response,
            schedule.get_last_lr()[0], time.monotonic() - epoch_began,
        )
        reports.append(report)
        if accelerator.is_main_process:
            seconds = time.monotonic() - began
            card = Card(
                config.name, config.grid, config.network, config.decoder, config.description,
                origin(config, len(films), seconds, str(accelerator.device)), {"simulated validation": _summary(report)},
            )
            improved = report.mean_dice > best
            best = max(best, report.mean_dice)
            for kind in ("last", "best") if improved else ("last",):
                save_checkpoint(config.out / f"{kind}.safetensors", judged, card)
            with (config.out / "history.jsonl").open("a") as history:
                history.write(json.dumps(asdict(report)) + "\n")
            print(describe(report))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _save_state(accelerator, config.out, epoch, best)
    accelerator.end_training()
    return reports


def _summary(report: EpochReport) -> Mapping[str, Any]:
    per_vertebra = dict(zip(VERTEBRAE, report.dice, strict=True))
    return {"epoch": report.epoch, "mean dice": round(report.mean_dice, 4), "dice": per_vertebra}


def describe(report: EpochReport) -> str:
    """The report as lines for a terminal: losses, Dice per vertebra, response matrix."""
    dice = "  ".join(f"{v} {d:.3f}" for v, d in zip(VERTEBRAE, report.dice, strict=True))
    rows = [f"  channel {k}  " + "  ".join(f"{value:.2f}" for value in row) for k, row in enumerate(report.response)]
    head = f"epoch {report.epoch}: loss {report.train_loss:.4f}, held back {report.validation_loss:.4f}, {report.seconds:.0f} s"
    return "\n".join([head, f"  Dice {report.mean_dice:.3f}: {dice}", "  response (channel x vertebra):", *rows])
