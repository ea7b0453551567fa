"""The training loop, top to bottom. Devices, mixed precision and processes are Accelerate's business."""

from __future__ import annotations

import json
import math
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

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
from spineseg.dataset import FilmDataset, build_cache, labelled_films, split_by_film
from spineseg.files import replacing
from spineseg.film import CHANNELS, VERTEBRAE, BadInput
from spineseg.grid import GridConfig
from spineseg.losses import LOSSES, LossName, check_targets
from spineseg.network import PRESETS, UNet, UNetConfig, parameter_count

REPORT_GRID = GridConfig(rows=1024, columns=1024, keep_aspect=False, intensity="minmax")
"""The report's input: each film stretched to a square."""


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
    """Passes over the films, which the learning rate's schedule is made for."""
    stop_after: int | None = None
    """End after so many of them, to go on later with --resume; the schedule stays that of all."""
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


PresetName = Literal["default", "report-6", "report-7"]


def preset(name: PresetName, data: Path, out: Path) -> TrainConfig:
    """The defaults, or the report's network of six or seven channels with the report's grid."""
    if name == "default":
        return TrainConfig(data, out)
    return TrainConfig(data, out, network=PRESETS[name], grid=REPORT_GRID)


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
        """Mean over the vertebrae that are on any held-back film; 0 if none is."""
        return float(np.nanmean(self.dice)) if np.isfinite(self.dice).any() else 0.0


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
        return 0.5 * (
            1 + math.cos(math.pi * min((step - config.warmup_steps) / max(steps - config.warmup_steps, 1), 1))
        )

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
    """Where a checkpoint came from, for its card; paths without the folders above them, which are nobody's business."""
    settings = {k: v.name if isinstance(v, Path) else v for k, v in asdict(config).items()}
    given = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "-m", "spineseg", *given]),
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


@dataclass(frozen=True, eq=False)
class _Run:
    """What the loop turns; made by `_prepare`."""

    config: TrainConfig
    accelerator: Accelerator
    films: FilmDataset
    batches: DataLoader
    checks: DataLoader
    network: nn.Module
    optimiser: Any
    schedule: torch.optim.lr_scheduler.LambdaLR
    average: AveragedModel

    @property
    def quiet(self) -> bool:
        """Whether another process of this machine does the talking."""
        return not self.accelerator.is_local_main_process

    def judged(self) -> UNet:
        """The network that is validated and saved: the averaged one, if there is an average."""
        return cast(UNet, self.average.module if self.config.average else self.accelerator.unwrap_model(self.network))


def train(config: TrainConfig) -> list[EpochReport]:
    """Train and write `best` and `last` checkpoints, history.jsonl and config.json into config.out.

    Returns a report for each epoch, those before a resumption included.
    Raises BadInput for a folder, label or checkpoint that cannot be used, before the first step.
    """
    config = _settled(config)
    set_seed(config.seed)
    accelerator = Accelerator(mixed_precision=_precision(config, torch.cuda.is_available()))
    run = _prepare(config, accelerator)
    reports, best = _resume(run) if config.resume else ([], -1.0)
    if accelerator.is_main_process:
        _write_start(config, reports)
    if not run.quiet:
        held_back, weights = len(cast(FilmDataset, run.checks.dataset)), parameter_count(run.network)
        print(f"{len(run.films)} films to train on, {held_back} held back, {weights:,} weights, {accelerator.device}")
    for epoch in range(len(reports), min(config.epochs, config.stop_after or config.epochs)):
        began = time.monotonic()
        train_loss = _one_epoch(run, epoch)
        validation_loss, dice, response = _validate(run).result()
        rate, seconds = float(run.schedule.get_last_lr()[0]), time.monotonic() - began
        report = EpochReport(epoch, train_loss, validation_loss, dice, response, rate, seconds)
        reports.append(report)
        if accelerator.is_main_process:
            _save_epoch(run, reports, improved=report.mean_dice > best)
            print(describe(report))
        best = max(best, report.mean_dice)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _save_state(accelerator, config.out, epoch, best)
    accelerator.end_training()
    return reports


def _settled(config: TrainConfig) -> TrainConfig:
    """The configuration as it will be used. Raises BadInput if its parts do not go together."""
    rows, columns, stride = config.grid.rows, config.grid.columns, config.network.stride
    if rows % stride or columns % stride:
        raise BadInput(f"expected a grid in multiples of {stride}, which the network needs, got {rows} x {columns}")
    if not config.resume and _holds_run(config.out):
        raise BadInput("expected an output folder without a run, got one that has one; set --resume or another --out")
    return replace(config, network=replace(config.network, in_channels=config.grid.channels))


def _holds_run(out: Path) -> bool:
    return any((out / name).exists() for name in ("history.jsonl", "state", "state.old"))


def _prepare(config: TrainConfig, accelerator: Accelerator) -> _Run:
    """Films, network, optimiser, schedule and average, on the devices where they will be used."""
    films, held_back = _datasets(config, accelerator)
    # Workers start anew each epoch, because they hold a copy of the dataset and its epoch decides the changes.
    last = len(films) >= config.batch
    batches = DataLoader(films, config.batch, shuffle=True, num_workers=config.workers, drop_last=last)
    checks = DataLoader(held_back, config.batch)
    network = _initial(config)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    network, optimiser, batches, checks = accelerator.prepare(network, optimiser, batches, checks)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _schedule(config, len(batches) * config.epochs))
    average = AveragedModel(accelerator.unwrap_model(network), multi_avg_fn=get_ema_multi_avg_fn(config.average))
    accelerator.register_for_checkpointing(schedule, average)
    return _Run(config, accelerator, films, batches, checks, network, optimiser, schedule, average)


_MOST_REMARKS = 20
"""Films whose labels are remarked on before training."""


def _datasets(config: TrainConfig, accelerator: Accelerator) -> tuple[FilmDataset, FilmDataset]:
    """To train on, with random changes; held back, without."""
    labelled = labelled_films(config.data)
    quiet = not accelerator.is_local_main_process
    progress = partial(tqdm, desc="reading films", disable=quiet)
    with accelerator.main_process_first():
        cache = build_cache(labelled, config.grid, config.data / ".cache", progress=progress)
    if not quiet:
        print(
            "".join(f"{name}: {'; '.join(cache.remarks[name])}\n" for name in list(cache.remarks)[:_MOST_REMARKS]),
            end="",
        )
    trained_on, held_back = split_by_film(len(labelled), config.validation, config.seed)
    dataset = partial(
        FilmDataset,
        cache,
        grid=config.grid,
        out_channels=config.network.out_channels,
        stride=config.network.patch,
        seed=config.seed,
    )
    return dataset(trained_on, augmentation=config.augment), dataset(held_back, augmentation=None)


def _initial(config: TrainConfig) -> UNet:
    if config.init is None:
        return UNet(config.network)
    network, card = load_checkpoint(config.init)
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
            check_targets(targets)
            total += _one_step(run, images, targets)
            bar.set_postfix(loss=f"{total / step:.4f}")
    return total / max(len(run.batches), 1)


def _one_step(run: _Run, images: Tensor, targets: Tensor) -> float:
    """Change the weights by one batch; its loss."""
    with run.accelerator.autocast():
        logits = run.network(images)
    loss = LOSSES[run.config.loss](logits.float(), targets)
    run.accelerator.backward(loss)
    run.accelerator.clip_grad_norm_(run.network.parameters(), run.config.clip_norm)
    run.optimiser.step()
    if not run.accelerator.optimizer_step_was_skipped:  # as fp16 does after an overflow
        run.schedule.step()
    run.optimiser.zero_grad(set_to_none=True)
    if run.config.average:
        run.average.update_parameters(run.accelerator.unwrap_model(run.network))
    return loss.item()


@torch.no_grad()
def _validate(run: _Run) -> _Scores:
    network = run.judged().eval()
    scores = _Scores(run.config.network.out_channels)
    for images, targets in run.checks:
        with run.accelerator.autocast():
            logits = network(images)
        logits, targets = run.accelerator.gather_for_metrics((logits.float(), targets))
        scores.add(LOSSES[run.config.loss](logits, targets).item(), torch.sigmoid(logits), targets)
    return scores


def _write_start(config: TrainConfig, earlier: list[EpochReport]) -> None:
    """The configuration, and the history up to where this run goes on."""
    config.out.mkdir(parents=True, exist_ok=True)
    with replacing(config.out / "config.json") as stream:
        stream.write((json.dumps(asdict(config), indent=2, default=str) + "\n").encode())
    if config.resume:
        _write_history(config.out, earlier)


def _write_history(out: Path, reports: list[EpochReport]) -> None:
    """One line of JSON for each epoch."""
    with replacing(out / "history.jsonl") as stream:
        stream.writelines((json.dumps(asdict(report)) + "\n").encode() for report in reports)


def _save_epoch(run: _Run, reports: list[EpochReport], *, improved: bool) -> None:
    """Checkpoints and history after the last of the reports' epochs."""
    config, seconds = run.config, sum(report.seconds for report in reports)
    card = Card(
        config.name,
        config.grid,
        config.network,
        config.decoder,
        config.description,
        origin(config, len(run.films), seconds, str(run.accelerator.device)),
        {"simulated validation": _summary(reports[-1])},
    )
    for kind in ("last", "best") if improved else ("last",):
        save_checkpoint(config.out / f"{kind}.safetensors", run.judged(), card)
    _write_history(config.out, reports)


def _save_state(accelerator: Accelerator, out: Path, epoch: int, best: float) -> None:
    """Replace out/state by the present one; the old stays until the new is whole."""
    unfinished, final = out / "state.partial", out / "state"
    shutil.rmtree(unfinished, ignore_errors=True)
    accelerator.save_state(str(unfinished))
    (unfinished / "progress.json").write_text(json.dumps({"epoch": epoch, "best": best}))
    shutil.rmtree(out / "state.old", ignore_errors=True)
    if final.exists():
        final.rename(out / "state.old")
    unfinished.rename(final)
    shutil.rmtree(out / "state.old", ignore_errors=True)


def _resume(run: _Run) -> tuple[list[EpochReport], float]:
    """Take up the last state; the reports of the epochs before it, and their best mean Dice.

    An epoch that was cut short after its line in the history is forgotten and trained again.
    """
    out = run.config.out
    state = next((p for p in (out / "state", out / "state.old") if (p / "progress.json").exists()), None)
    if state is None:
        raise BadInput("expected a run to resume, found no finished epoch; start in another folder without --resume")
    _check_settings(run.config)
    run.accelerator.load_state(str(state))
    progress = json.loads((state / "progress.json").read_text())
    lines = (out / "history.jsonl").read_text(encoding="utf-8").splitlines()
    reports = [EpochReport(**json.loads(line)) for line in lines]
    return [report for report in reports if report.epoch <= progress["epoch"]], float(progress["best"])


_FIXED = ("network", "grid", "validation", "seed")
"""Settings that must be the same when a run is resumed: weights would not fit, or films change sides."""


def _check_settings(config: TrainConfig) -> None:
    """Raises BadInput if the run in config.out was made with other settings of those in _FIXED."""
    stored = json.loads((config.out / "config.json").read_text(encoding="utf-8"))
    present = json.loads(json.dumps(asdict(config), default=str))
    changed = [name for name in _FIXED if stored.get(name) != present[name]]
    if changed:
        raise BadInput(f"expected the settings of the run to resume, got another {', '.join(changed)}; set them alike")


def _summary(report: EpochReport) -> Mapping[str, Any]:
    per_vertebra = dict(zip(VERTEBRAE, report.dice, strict=True))
    return {"epoch": report.epoch, "mean dice": round(report.mean_dice, 4), "dice": per_vertebra}


def describe(report: EpochReport) -> str:
    """The report as lines for a terminal: losses, Dice per vertebra, response of each channel in each vertebra."""
    losses = f"loss {report.train_loss:.4f}, held back {report.validation_loss:.4f}"
    rows = {"Dice": report.dice, **dict(zip(CHANNELS, report.response, strict=False))}
    lines = [f"  {name:10}" + "".join(f"{value:7.3f}" for value in row) for name, row in rows.items()]
    names = "".join(f"{name:>7}" for name in VERTEBRAE)
    lines.insert(1, "  mean response of each channel (row) in each vertebra (column):")
    head = f"epoch {report.epoch}: {losses}, mean Dice {report.mean_dice:.3f}, {report.seconds:.0f} s"
    return "\n".join([head, f"  {'':10}{names}", *lines])
