"""The benchmarks of speed, but for their times: what they count, take apart and tell."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import accuracy_for_time, rivals, speed, timing, training_speed
from benchmarks.networks import multiply_adds
from experiments.records import cell, table
from spineseg.io.dicom_write import write_film
from spineseg.model.card import Card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.unet import UNet
from spineseg.simulate import SimulateConfig, simulate_case

# Work


@pytest.mark.parametrize(
    ("layer", "given", "expected"),
    [
        (nn.Conv2d(2, 3, 3, padding=1), (1, 2, 4, 5), 4 * 5 * 3 * 2 * 9),
        (nn.Conv2d(2, 3, 3, stride=2), (1, 2, 5, 5), 2 * 2 * 3 * 2 * 9),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 3, 3), 2 * 3 * 3 * 6 * 2 * 9),
        (nn.ConvTranspose2d(5, 3, 2, stride=2), (1, 5, 4, 4), 4 * 4 * 5 * 3 * 4),
        (nn.Linear(7, 2), (3, 7), 3 * 7 * 2),
        (nn.ReLU(), (1, 2, 4, 5), 0),
        (nn.InstanceNorm2d(2), (1, 2, 4, 5), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_multiply_adds_of_a_layer(layer: nn.Module, given: tuple[int, ...], expected: int) -> None:
    assert multiply_adds(layer, torch.zeros(given)) == expected


# The stages


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    write_film(path, simulate_case(1, 0, SimulateConfig(rows=300)).film)
    return path


@pytest.mark.parametrize("decoder", ["ordered", "none"])
def test_stages_together_give_the_array_that_the_package_gives(film: Path, tmp_path: Path, decoder: str) -> None:
    torch.manual_seed(0)
    grid, network = GridConfig(rows=64, columns=64), UNetConfig(features=(4, 8), prior=0.5)
    card = Card("small", grid, network, decoder="none" if decoder == "none" else "ordered")
    save_checkpoint(tmp_path / "small.safetensors", UNet(network), card)
    walk = speed.Walk(film, tmp_path / "array.npy", "cpu", tmp_path / "small.safetensors")
    assert tuple(walk.stages) == speed.STAGES
    walk.check()
    by_stages = np.load(tmp_path / "array.npy")
    walk.whole()
    assert by_stages.any() and np.array_equal(by_stages, np.load(tmp_path / "array.npy"))


def test_other_stages_than_the_package_s_are_noticed(film: Path, tmp_path: Path) -> None:
    walk = speed.Walk(film, tmp_path / "array.npy", "cpu")
    walk.mask = lambda: setattr(walk, "masks", np.ones((6, 300, 200), bool))
    with pytest.raises(AssertionError, match="not those of Segmenter"):
        walk.check()


# Rivals


def test_rivals_have_names_of_their_own_and_ours_comes_first() -> None:
    names = [rival.name for rival in rivals.RIVALS]
    assert len(set(names)) == len(names) and rivals.RIVALS[0] is rivals.BASELINE


def test_a_rival_that_is_not_installed_says_so() -> None:
    absent = rivals.Rival("x", nn.Identity, rivals._torch, ("torch", "no-such-package"))
    assert rivals.without(absent, "cpu") == "no-such-package not installed"
    assert rivals.without(rivals.BASELINE, "cpu") is None


def test_agreement_counts_what_changes_sides() -> None:
    ours = np.full((1, 1, 10, 100), 0.4, np.float32)
    other = ours.copy()
    other[0, 0, 0, :2] = (0.6, 0.45)
    said = rivals.agreement(other, ours)
    assert said["largest difference"] == pytest.approx(0.2) and said["pixels of a million"] == 1000
    assert rivals.agreement(ours, ours) == {"largest difference": 0.0, "pixels of a million": 0.0}


def test_what_the_app_has_already_costs_no_disk() -> None:
    assert rivals.size_mb(["torch", "numpy", "gradio"]) == 0
    assert rivals.size_mb(["monai"]) > 1
    assert {"torch", "numpy", "monai"} <= rivals.needed(["MONAI"])


@pytest.mark.parametrize("rival", rivals.RIVALS, ids=lambda rival: rival.name)
def test_rivals_packages_are_pinned(rival: rivals.Rival) -> None:
    pinned = "".join((timing.ROOT / f"requirements-{kind}.txt").read_text() for kind in ("test", "bench"))
    assert all(f"\n{name}==" in pinned for name in (*rival.needs, *rivals.EXPORTING))


# The front


def test_front_of_known_points() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.5), (2.0, 0.8), (4.0, 0.9), (9.0, 0.95)]
    assert accuracy_for_time.front(points) == [1, 3, 0, 5]


def test_no_point_is_behind_its_equal() -> None:
    assert accuracy_for_time.front([(1.0, 0.5), (1.0, 0.5)]) == [0, 1]
    assert accuracy_for_time.front([]) == []


def test_every_point_is_on_the_front_or_beaten_by_one_that_is(rng: np.random.Generator) -> None:
    points = [(float(a), float(b)) for a, b in rng.integers(0, 6, (40, 2))]
    kept = [points[k] for k in accuracy_for_time.front(points)]
    assert kept == sorted(kept) and [worth for _, worth in kept] == sorted(worth for _, worth in kept)
    for cost, worth in set(points) - set(kept):
        assert any(c <= cost and w >= worth for c, w in kept)


def test_checkpoints_of_one_name_are_told_apart() -> None:
    paths = [Path("a/best.safetensors"), Path("b/best.safetensors"), Path("c/spineseg.safetensors")]
    assert accuracy_for_time.named(paths) == ["a/best", "b/best", "spineseg"]


# Training


def test_rate_of_processes_that_start_one_after_the_other() -> None:
    first, second = np.arange(10.0), np.arange(0.5, 10.5)  # a film a second each
    assert training_speed.steady([*first, *second], 2) == pytest.approx(2.0, rel=0.06)
    assert training_speed.steady(list(first), 1) == pytest.approx(1.0)
    assert math.isnan(training_speed.steady([1.0, 2.0], 2))


# Telling


def test_ways_take_turns_and_none_is_always_first() -> None:
    order: list[str] = []
    took = timing.take_turns({name: lambda name=name: order.append(name) for name in "abc"}, 3, warm=1)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(seconds) for name, seconds in took.items()} == {"a": 3, "b": 3, "c": 3}


def test_spread_of_known_seconds() -> None:
    assert timing.spread([0.4, 0.1, 0.2, 0.3, 0.5]) == {"median ms": 300, "best ms": 100, "middle half ms": 200}
    assert timing.spread([0.25])["middle half ms"] == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells")
def test_memory_is_that_of_the_work_alone() -> None:
    big = timing.memory_of(lambda: np.ones(20_000_000))
    small = timing.memory_of(lambda: None)
    assert big["own MB"] == pytest.approx(160, abs=25)
    assert small["own MB"] < 10 and small["peak MB"] < big["peak MB"] - 100


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (math.nan, ""), (0, "0"), (0.0, "0"), (1234567, "1,234,567"), (1234.5, "1,234"), (12.345, "12.3")]
    + [(0.98765, "0.988"), (0.00123, "0.00123"), (0.0000123, "1.2e-05"), (True, "yes"), ("a|b", r"a\|b")],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


def test_table_has_a_column_for_every_key() -> None:
    text = table([{"name": "a", "ms": 1.5}, {"name": "b", "MB": 3}])
    assert text.splitlines() == ["| name | ms | MB |", "| --- | --- | --- |", "| a | 1.50 |  |", "| b |  | 3 |"]


def test_the_last_line_is_json_that_says_where_it_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = timing.surroundings("cpu", ["scipy", "no-such-package"])
    tables = {"Stages": [{"stage": "read", "ms": 1.0}, {"stage": "grid", "ms": math.nan}], "None": []}
    timing.tell("speed", {"repeats": 2}, place, tables, tmp_path / "new" / "speed.json")
    said = capsys.readouterr().out
    last = said.splitlines()[-1]
    assert (tmp_path / "new" / "speed.json").read_text() == last + "\n"
    told = json.loads(last)
    assert told["benchmark"] == "speed" and told["settings"] == {"repeats": 2}
    assert told["commit"] and "cpu" in told["hardware"] and "cores" in told["hardware"]
    assert {"python", "torch", "numpy", "scipy"} <= told["versions"].keys() and "no-such-package" not in told[
        "versions"
    ]
    assert told["tables"]["Stages"][1] == {"stage": "grid", "ms": None}
    assert "| grid |  |" in said and "None" not in said.replace(last, "")
