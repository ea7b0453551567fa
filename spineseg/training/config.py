"""What a training run is made of, its defaults, and which settings do not go together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from spineseg.data.config import AugmentConfig, SplitConfig
from spineseg.film import BadInput
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.model.card import UNET, Decoder
from spineseg.model.config import GridConfig, LossName, UNetConfig

SCRATCH = "scratch"


@dataclass(frozen=True)
class TrainConfig(SplitConfig):
    """Everything that a run is made of; saved beside it as config.json. What is None is chosen by `fit.fitted`."""

    data: Path
    """Folder with films in img/ and labels in label/, as img/a/1.dcm and label/a/1.mat."""
    out: Path = Path("run")
    """Where checkpoints, history and report go."""
    start: Annotated[Literal["scratch"] | Path, arg(name="from")] = DEFAULT_CHECKPOINT
    """Checkpoint to fine-tune, or hf://owner/name@revision; scratch to start from random weights."""
    name: str = ""
    """Name of the checkpoint; if left open, that of the folder `out`."""
    cache: Path | None = None
    """Folder for the films on the network's grid; if left open, spineseg-cache beside `out`."""
    architecture: str = UNET
    """unet, or module:factory of a network of your own (docs/how-to/add-a-network.ipynb)."""
    network: UNetConfig = field(default_factory=UNetConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossName = "bce+dice"
    check_targets: bool = True
    """Refuse targets outside 0..1, and films whose vertebrae run from caudal to cranial."""
    epochs: int | None = None
    """Parts of the training, each followed by a score; the learning rate's schedule is made for all of them."""
    repeats: int | None = None
    """How often an epoch shows each film, changed anew each time."""
    stop_after: int | None = None
    """End after so many of them, to go on later with --resume; the schedule stays that of all."""
    patience: int | None = None
    """End after so many epochs in a row without a better Dice on the validation films."""
    batch: int | None = None
    """Films per step, over all processes: their number changes no result."""
    accumulate: int = 1
    """Pieces that each process works its films of a step through in, to save memory; the step is the same."""
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    """sgd: with a momentum of 0.9."""
    learning_rate: float | None = None
    weight_decay: float = 1e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    """Of the learning rate after the warm-up: half a cosine down to zero, or none."""
    warmup_steps: int | None = None
    """Steps in which the learning rate rises from near zero."""
    average: float = 0.998
    """Share of the old value in the moving average of the weights, per step, less in the first ones; 0 turns it off."""
    tune: Literal["decoder", "all"] = "decoder"
    """Weights of a checkpoint that are changed: those of the U-Net's expanding path, or all. From scratch it is all."""
    keep: float = 0.5
    """Share of the start's weights in the fine-tuned ones, which are mixed with it before they are scored and saved."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 for no limit."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """auto: fp16 on a CUDA device, bf16 on a processor that multiplies in it, else no mixed precision."""
    workers: int = 1
    """Processes that prepare batches beside each training process, and read films into the cache before."""
    resume: bool = False
    """Go on from the last finished epoch in `out`."""
    tensorboard: bool = False
    """Write curves and response matrices for TensorBoard, which must be installed."""
    decoder: Decoder = "ordered"
    """How predictions are read; none for channels that are no levels."""
    description: str = ""
    """What the checkpoint's card says of it."""


_AT_LEAST_ONE = ("epochs", "stop_after", "patience", "batch", "accumulate", "repeats")
_NOT_NEGATIVE = ("folds", "fold", "learning_rate", "weight_decay", "warmup_steps", "clip_norm", "workers", "seed")


def validated(config: TrainConfig) -> TrainConfig:
    """The configuration as it will be used. Raises BadInput if its parts do not go together."""
    _check_numbers(config)
    rows, columns, stride = config.grid.rows, config.grid.columns, config.network.stride
    if config.architecture == UNET and (rows % stride or columns % stride):
        raise BadInput(f"expected a grid in multiples of {stride}, which the network needs, got {rows} x {columns}")
    if config.fold > config.folds or config.folds == 1:
        raise BadInput(
            f"expected 2 folds or more and one of them, got fold {config.fold} of {config.folds}; set --folds"
        )
    return replace(config, network=replace(config.network, in_channels=config.grid.channels))


def _check_numbers(config: TrainConfig) -> None:
    """Raises BadInput for a number that no training can be made with."""
    least = {**dict.fromkeys(_AT_LEAST_ONE, 1), **dict.fromkeys(_NOT_NEGATIVE, 0)}
    for name, limit in least.items():
        value = getattr(config, name)
        if value is not None and not value >= limit:
            raise BadInput(f"expected {name} of {limit} or more, got {value:g}; set another")
    if config.validation is not None and not 0 <= config.validation < 1:
        raise BadInput(f"expected validation from 0 to below 1, got {config.validation:g}; set a share of the films")
    if not 0 <= config.keep < 1:
        raise BadInput(f"expected keep from 0 to below 1, got {config.keep:g}; set 0 for none")
    if not 0 <= config.average < 1:
        raise BadInput(f"expected average from 0 to below 1, got {config.average:g}; set 0 for none")


def read_config(run: Path) -> TrainConfig:
    """The configuration that a run saved, by its folder or by the file. Raises BadInput if it is not understood."""
    from pydantic import TypeAdapter, ValidationError

    another = "expected the config.json of a run of this version, got another ({}); train again"
    try:
        stored = json.loads((run / "config.json" if run.is_dir() else run).read_text(encoding="utf-8"))
        config = TypeAdapter(TrainConfig).validate_python(stored)
    except OSError:
        raise BadInput("expected a training run, found no config.json in the folder; name a run's --out") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(another.format(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")) from None
    except (ValueError, RecursionError) as error:
        raise BadInput(another.format(type(error).__name__)) from None
    if unknown := _unknown(stored, asdict(config)):
        raise BadInput(another.format(f"{unknown}: unknown"))
    return config


def _unknown(stored: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """The first setting that there is none of, such as augment.flips."""
    for name, value in stored.items():
        if name not in known:
            return name
        if isinstance(value, Mapping) and (inner := _unknown(value, known[name])):
            return f"{name}.{inner}"
    return None
