"""The benchmarks, but for their times: what they count and take apart, and what a reference placed by eye costs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small import write_checkpoint
from torch import nn

from benchmarks import accuracy_for_time, rivals, speed, timing, training_speed
from benchmarks.measurements import TWO_PLACEMENTS, placement_deviation, quadrilateral_dice, strayed
from benchmarks.networks import multiply_adds
from spineseg.io.dicom_write import write_film
from spineseg.model.config import UNetConfig
from spineseg.simulate import SimulateConfig, simulate_case


@pytest.mark.parametrize(
    ("layer", "given", "expected"),
    [
        (nn.Conv2d(2, 3, 3, padding=1), (1, 2, 4, 5), 4 * 5 * 3 * 2 * 9),
        (nn.Conv2d(2, 3, 3, stride=2), (1, 2, 5, 5), 2 * 2 * 3 * 2 * 9),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 3, 3), 2 * 3 * 3 * 6 * 2 * 9),
        (nn.ConvTranspose2d(5, 3, 2, stride=2), (1, 5, 4, 4), 4 * 4 * 5 * 3 * 4),
        (nn.Linear(7, 2), (3, 7), 3 * 7 * 2),
        (nn.ReLU(), (1, 2, 4, 5), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_multiply_adds_of_a_layer(layer: nn.Module, given: tuple[int, ...], expected: int) -> None:
    assert multiply_adds(layer, torch.zeros(given)) == expected


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    write_film(path, simulate_case(1, 0, SimulateConfig(rows=300)).film)
    return path


@pytest.mark.parametrize("decoder", ["ordered", "none"])
def test_stages_together_give_the_array_that_the_package_gives(film: Path, tmp_path: Path, decoder: str) -> None:
    write_checkpoint(tmp_path / "small.safetensors", UNetConfig(features=(4, 8), prior=0.5), decoder=decoder)
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


def test_agreement_counts_what_changes_sides() -> None:
    ours = np.full((1, 1, 10, 100), 0.4, np.float32)
    other = ours.copy()
    other[0, 0, 0, :2] = (0.6, 0.45)
    said = rivals.agreement(other, ours)
    assert said["largest difference"] == pytest.approx(0.2) and said["pixels of a million"] == 1000
    assert rivals.agreement(ours, ours) == {"largest difference": 0.0, "pixels of a million": 0.0}


def test_a_rival_says_what_it_lacks_and_what_it_costs_on_disk() -> None:
    absent = rivals.Rival("x", nn.Identity, rivals._torch, ("torch", "no-such-package"))
    assert rivals.without(absent, "cpu") == "no-such-package not installed"
    assert rivals.size_mb(["torch", "numpy", "gradio"]) == 0 < rivals.size_mb(["monai"]), "the app has the former"


def test_a_network_is_compared_with_the_fastest_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "fastest_product", lambda threads: 1e11)
    (row,) = rivals.with_share([{"10^9 multiply-adds": 3.0, "median ms": 60.0}], 2)
    assert row["% of the fastest product"] == 50
    monkeypatch.undo()
    assert rivals.fastest_product(1, size=64, repeats=2) > 1e6


def test_ways_take_turns_and_the_last_line_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []
    took = timing.take_turns({name: lambda name=name: order.append(name) for name in "abc"}, 3, warm=1)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc" and [len(seconds) for seconds in took.values()] == [3, 3, 3]
    assert timing.spread([0.4, 0.1, 0.2, 0.3, 0.5]) == {"median ms": 300, "best ms": 100, "middle half ms": 200}
    tables = {"Ways": [{"way": "a", "ms": 1.5}, {"way": "b", "ms": math.nan, "fast": True}]}
    timing.tell("speed", {"repeats": 3}, timing.surroundings("cpu", ["scipy"]), tables, tmp_path / "speed.json")
    last = capsys.readouterr().out.splitlines()[-1]
    told = json.loads(last)
    assert (tmp_path / "speed.json").read_text() == last + "\n" and told["commit"] and "scipy" in told["versions"]
    assert told["tables"]["Ways"] == [{"way": "a", "ms": 1.5}, {"way": "b", "ms": None, "fast": True}]


def test_front_of_known_points() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.5), (2.0, 0.8), (4.0, 0.9), (9.0, 0.95)]
    assert accuracy_for_time.front(points) == [1, 3, 0, 5]


def test_every_point_is_on_the_front_or_beaten_by_one_that_is(rng: np.random.Generator) -> None:
    points = [(float(a), float(b)) for a, b in rng.integers(0, 6, (40, 2))]
    kept = [points[k] for k in accuracy_for_time.front(points)]
    assert kept == sorted(kept) and [worth for _, worth in kept] == sorted(worth for _, worth in kept)
    for cost, worth in set(points) - set(kept):
        assert any(c <= cost and w >= worth for c, w in kept)


def test_rate_of_processes_that_start_one_after_the_other() -> None:
    first, second = np.arange(10.0), np.arange(0.5, 10.5)  # a film a second each
    assert training_speed.steady([*first, *second], 2) == pytest.approx(2.0, rel=0.06)
    assert training_speed.steady(list(first), 1) == pytest.approx(1.0)
    assert math.isnan(training_speed.steady([1.0, 2.0], 2))


# Telling


SQUARE = np.array([[0.0, 0.0], [0.0, 40.0], [40.0, 40.0], [40.0, 0.0]])


def test_dice_of_two_squares_is_what_it_looks_like() -> None:
    assert quadrilateral_dice(SQUARE, SQUARE) == pytest.approx(1.0)
    assert quadrilateral_dice(SQUARE, SQUARE + [0, 20]) == pytest.approx(0.5)
    assert quadrilateral_dice(SQUARE, SQUARE + [0, 100]) == 0.0


def test_two_placements_stray_until_they_agree_as_two_readers_do() -> None:
    spines = [np.stack([SQUARE + [50 * k, 0] for k in range(6)])] * 40
    deviation = placement_deviation(spines, np.random.default_rng(0))
    again = np.random.default_rng(1)
    pairs = [(strayed(s, deviation, again), strayed(s, deviation, again)) for s in spines]
    agreed = np.median([quadrilateral_dice(a, b) for pair in pairs for a, b in zip(*pair, strict=True)])
    assert agreed == pytest.approx(TWO_PLACEMENTS, abs=0.01)
    assert 0.01 < deviation < 0.06
