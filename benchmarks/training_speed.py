"""What training does in a second: the simulator, the loader and the network, each alone, then the last two together.

Usage: python -m benchmarks.training_speed [--repeats 3] [--films 24] [--rows 512 768 1536] [--batches 2 4 8 16]
       [--processes 1 2]

The simulator writes films as `python -m spineseg simulate` does, timed from when each of its processes has written its
first, so without their start; multiples of eight films are shared evenly. Reading decodes them into the cache that
training uses. The loader gives batches with the default changes from that cache, the network takes the default step on
one batch again and again, in the precision that training picks. Together, the share of the time in which the network
waits for its next batch is what a faster loader would save.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from benchmarks.networks import finished
from benchmarks.timing import options, seconds_of, spread, surroundings, take_turns, tell
from experiments.records import Row
from spineseg.data.cache import GridCache, build_cache
from spineseg.data.dataset import FilmDataset
from spineseg.io.folder import labelled_films, write_case
from spineseg.model.losses import LOSSES
from spineseg.model.unet import UNet
from spineseg.simulate import SimulateConfig, write_folder
from spineseg.training.config import SCRATCH, TrainConfig, validated
from spineseg.training.optimisation import make_optimiser
from spineseg.training.prepare import dataset_of, make_accelerator

BATCH = 8
"""Films of a step from scratch, where nothing else is asked for."""
SEED = 9100
"""Of the films; no published checkpoint is trained on that series."""


def steady(done: Sequence[float], processes: int) -> float:
    """Films a second that so many processes make, from when each had made its first.

    done: when each film was, in seconds. NaN where no process made a second one.
    """
    done = sorted(done)
    if len(done) <= processes:
        return float("nan")
    return (len(done) - processes) / (done[-1] - done[processes - 1])


def simulated(out: Path, rows: int, processes: int, films: int) -> float:
    """Write the films; how many a second, by when their files were written."""
    write_folder(out, films, SEED, SimulateConfig(rows=rows), write=write_case, processes=processes)
    return steady([files.film.stat().st_mtime_ns / 1e9 for files in labelled_films(out)], processes)


def read(out: Path) -> float:
    """Films a second that are decoded, with their labels, into the cache on the grid."""
    return len(labelled_films(out)) / seconds_of(lambda: cache_of(out, TrainConfig(out, out, SCRATCH)))


def simulator_rows(folder: Path, rows: Sequence[int], processes: Sequence[int], films: int) -> list[Row]:
    """For each size of film, those simulated a second and those read a second."""
    table = []
    for size in rows:
        places = {count: folder / f"{size}-{count}" for count in processes}
        made = {count: simulated(out, size, count, films) for count, out in places.items()}
        row: Row = {f"simulated a second, {count} at once": round(rate, 2) for count, rate in made.items()}
        table.append({"film rows": size, **row, "read a second": round(read(places[processes[-1]]), 2)})
    return table


def cache_of(folder: Path, config: TrainConfig) -> GridCache:
    """The films that lie there, on the grid."""
    return build_cache(labelled_films(folder), config.grid, folder / ".cache")


def batches_of(films: FilmDataset, batch: int, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """As training loads them."""
    return DataLoader(films, batch, shuffle=True, num_workers=workers, drop_last=True)


def repeated(films: FilmDataset, config: TrainConfig, batch: int, count: int) -> FilmDataset:
    """The films over and over again, `count` batches of them."""
    indices = [films.indices[k % len(films)] for k in range(count * batch)]
    return dataset_of(films.cache, config, indices, changed=True)


def loader_rows(
    cache: GridCache, config: TrainConfig, batches: Sequence[int], processes: Sequence[int], count: int
) -> list[Row]:
    """Films a second of the loader alone: in training's own process (0) and in others, from the second batch on."""
    films = dataset_of(cache, config, list(range(len(cache))), changed=True)
    rows = []
    for batch in batches:
        row: Row = {"batch": batch}
        for workers in (0, *processes):
            loaded = iter(batches_of(repeated(films, config, batch, count + 1), batch, workers))
            next(loaded)
            began = time.perf_counter()
            for _ in range(count):
                next(loaded)
            row[f"loaded a second, {workers} processes"] = round(count * batch / (time.perf_counter() - began), 2)
            del loaded
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Learner:
    """A network with what a step of training needs."""

    accelerator: Accelerator
    network: nn.Module
    optimiser: Optimizer
    config: TrainConfig

    def step(self, images: Tensor, targets: Tensor) -> float:
        """Forward, backward, change of the weights; the loss, whose reading waits for the device."""
        with self.accelerator.autocast():
            logits = self.network(images)
        loss = LOSSES[self.config.loss](logits.float(), targets)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())


def learner_of(config: TrainConfig, accelerator: Accelerator) -> Learner:
    """With random weights."""
    network = UNet(config.network)
    network, optimiser = accelerator.prepare(network, make_optimiser(network.parameters(), config))
    return Learner(accelerator, network.train(), optimiser, config)


def random_batch(config: TrainConfig, batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Of the shapes that the loader gives."""
    grid, network = config.grid, config.network
    size = (grid.rows // network.patch, grid.columns // network.patch)
    images = torch.rand(batch, network.in_channels, grid.rows, grid.columns, device=device)
    return images, (torch.rand(batch, network.out_channels, *size, device=device) > 0.97).float()


def network_rows(learner: Learner, batches: Sequence[int], repeats: int) -> list[Row]:
    """Films a second of the network's step alone, for each size of batch and, on a CPU, number of threads."""
    device, threads = str(learner.accelerator.device), torch.get_num_threads()
    counts = sorted({1, threads}) if device == "cpu" else [threads]
    given = {batch: random_batch(learner.config, batch, device) for batch in batches}

    def work(batch: int, count: int) -> Callable[[], object]:
        def step() -> None:
            torch.set_num_threads(count)
            learner.step(*given[batch])

        return finished(step, device)

    took = take_turns({f"{b} {n}": work(b, n) for b in batches for n in counts}, repeats)
    torch.set_num_threads(threads)
    rows = []
    for batch in batches:
        row: Row = {"batch": batch}
        for count in counts:
            median = spread(took[f"{batch} {count}"])["median ms"]
            row[f"learnt a second, {count} threads"] = round(1000 * batch / median, 2)
        rows.append(row)
    return rows


def together_rows(cache: GridCache, learner: Learner, batch: int, processes: Sequence[int], count: int) -> list[Row]:
    """Loader and network as in training: films a second, and the share of the time in which the network waits."""
    config, device = learner.config, learner.accelerator.device
    films = dataset_of(cache, config, list(range(len(cache))), changed=True)
    rows = []
    for workers in (0, *processes):
        loaded = iter(batches_of(repeated(films, config, batch, count + 1), batch, workers))
        learner.step(*(part.to(device) for part in next(loaded)))
        waited, began = 0.0, time.perf_counter()
        for _ in range(count):
            asked = time.perf_counter()
            images, targets = (part.to(device) for part in next(loaded))
            waited += time.perf_counter() - asked
            learner.step(images, targets)
        seconds = time.perf_counter() - began
        rows.append(
            {
                "processes that load": workers,
                "batch": batch,
                "films a second": round(count * batch / seconds, 2),
                "share of the time waited for films": round(waited / seconds, 3),
            }
        )
        del loaded
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, tell."""
    parser = options("training_speed", __doc__, 3)
    cores = os.cpu_count() or 1
    parser.add_argument("--films", type=int, default=24, help="simulated for each size and number of processes")
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 768, 1536], help="of the films")
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--processes", type=int, nargs="+", default=sorted({1, cores}))
    parser.add_argument("--steps", type=int, default=6, help="batches for the loader, and for both together")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = validated(TrainConfig(folder, folder, SCRATCH))
        accelerator = make_accelerator(config)
        device = str(accelerator.device)
        place = surroundings(device)
        made = simulator_rows(folder, chosen.rows, chosen.processes, chosen.films)
        cache = cache_of(folder / f"{chosen.rows[0]}-{chosen.processes[-1]}", config)
        learner = learner_of(config, accelerator)
        batch = BATCH if BATCH in chosen.batches else chosen.batches[-1]
        tables = {
            "Simulator": made,
            "Loader": loader_rows(cache, config, chosen.batches, chosen.processes, chosen.steps),
            "Network": network_rows(learner, chosen.batches, chosen.repeats),
            "Loader and network": together_rows(cache, learner, batch, chosen.processes, chosen.steps),
        }
    settings = {"films": chosen.films, "repeats": chosen.repeats, "steps": chosen.steps, "device": device}
    settings |= {"precision": accelerator.mixed_precision, "threads": torch.get_num_threads()}
    tell("training_speed", settings, place, tables, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
