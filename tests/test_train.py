"""train: a tiny network on twelve simulated films learns, resumes, and says what it did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from spineseg import train as training
from spineseg.augment import AugmentConfig
from spineseg.checkpoint import load_checkpoint
from spineseg.dataset import FilmDataset, labelled_films, read_case, split_by_film, write_case
from spineseg.film import VERTEBRAE, BadInput
from spineseg.grid import GridConfig
from spineseg.labels import KEY, UnreadableLabel
from spineseg.losses import BadTarget
from spineseg.network import REPORT_6, REPORT_7, UNetConfig
from spineseg.predict import Segmenter
from spineseg.simulate import SimulateConfig, write_folder
from spineseg.train import EpochReport, TrainConfig, describe, preset, train


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps the precision of a process; each test here is a run of its own."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_folder(folder, 12, 1, SimulateConfig(rows=128, crop_probability=0.0), write=write_case)
    return folder


def tiny(films: Path, out: Path, **changes: Any) -> TrainConfig:
    """Ten films to train on in batches of five: two steps per epoch."""
    config = TrainConfig(
        films,
        out,
        name="tiny",
        network=UNetConfig(features=(8, 12, 16)),
        grid=GridConfig(rows=128, columns=128),
        augment=AugmentConfig.none(),
        epochs=3,
        batch=5,
        learning_rate=1e-2,
        warmup_steps=2,
        average=0.5,
        validation=1 / 6,
        precision="no",
        workers=0,
    )
    return replace(config, **changes)


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def learned(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochReport], str]:
    """Twenty steps without random changes: the folder, the reports, and what was printed."""
    AcceleratorState._reset_state(True)
    out = tmp_path_factory.mktemp("run") / "new"
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        reports = train(tiny(films, out, epochs=10))
    return out, reports, "\n".join(printed)


def test_the_loss_falls(learned: tuple[Path, list[EpochReport], str]):
    _, reports, _ = learned
    assert [report.epoch for report in reports] == list(range(10))
    losses = [report.train_loss for report in reports]
    assert losses[-1] < 0.9 * losses[0]
    assert reports[-1].validation_loss < reports[0].validation_loss
    assert reports[-1].learning_rate < 1e-3


def test_every_epoch_is_reported(learned: tuple[Path, list[EpochReport], str]):
    out, reports, _ = learned
    stored = history(out)
    assert [EpochReport(**line) for line in stored] == reports
    for line in stored:
        assert len(line["dice"]) == 6
        assert np.shape(line["response"]) == (6, 6)
        assert 0 <= np.min(line["response"]) <= np.max(line["response"]) <= 1
    assert json.loads((out / "config.json").read_text())["grid"]["rows"] == 128


def test_the_report_is_readable(learned: tuple[Path, list[EpochReport], str]):
    _, reports, printed = learned
    assert "10 films to train on, 2 held back" in printed
    assert describe(reports[-1]) in printed
    report = EpochReport(3, 0.5, 0.25, [0.5] * 5 + [float("nan")], (np.eye(7, 6) * 0.75).tolist(), 1e-3, 12.4)
    assert describe(report).splitlines() == [
        "epoch 3: loss 0.5000, held back 0.2500, mean Dice 0.500, 12 s",
        "                 L1     L2     L3     L4     L5     S1",
        "  Dice        0.500  0.500  0.500  0.500  0.500    nan",
        "  mean response of each channel (row) in each vertebra (column):",
        "  L1          0.750  0.000  0.000  0.000  0.000  0.000",
        "  L2          0.000  0.750  0.000  0.000  0.000  0.000",
        "  L3          0.000  0.000  0.750  0.000  0.000  0.000",
        "  L4          0.000  0.000  0.000  0.750  0.000  0.000",
        "  L5          0.000  0.000  0.000  0.000  0.750  0.000",
        "  S1          0.000  0.000  0.000  0.000  0.000  0.750",
        "  background  0.000  0.000  0.000  0.000  0.000  0.000",
    ]


def test_the_response_matrix_is_the_mean_probability_on_each_vertebra():
    scores = training._Scores(6)
    targets = torch.zeros(2, 6, 12, 4)
    for k in range(6):
        targets[:, k, 2 * k : 2 * k + 2] = 1
    probability = targets * 0.75
    probability[1, 0] = 0.25
    scores.add(0.5, probability, targets)
    loss, dice, response = scores.result()
    assert loss == 0.5
    assert dice == pytest.approx([0.5, 1, 1, 1, 1, 1])
    expected = np.eye(6) * 0.75
    expected[0] = 0.125
    expected[0, 0] = 0.5
    assert np.allclose(response, expected)


def test_a_vertebra_on_no_film_has_no_dice():
    scores = training._Scores(6)
    targets = torch.zeros(1, 6, 4, 4)
    scores.add(0.0, targets, targets)
    _, dice, _ = scores.result()
    assert np.isnan(dice).all()
    assert EpochReport(0, 0.0, 0.0, dice, [], 0.0, 0.0).mean_dice == 0


def test_the_checkpoint_predicts(films: Path, learned: tuple[Path, list[EpochReport], str]):
    out, reports, _ = learned
    case = read_case(labelled_films(films)[0])
    for kind in ("best", "last"):
        segmenter = Segmenter.load(out / f"{kind}.safetensors", "cpu")
        prediction = segmenter(case.film)
        assert prediction.masks.shape == (6, *case.film.shape)
        assert prediction.probabilities.shape == (6, 128, 128)
        assert np.isfinite(prediction.probabilities).all()
    card = load_checkpoint(out / "last.safetensors")[1]
    assert card.name == "tiny"
    assert card.scores["simulated validation"]["epoch"] == 9
    assert card.scores["simulated validation"]["dice"] == dict(zip(VERTEBRAE, reports[-1].dice, strict=True))
    assert {"command", "commit", "films", "seconds", "hardware", "versions", "settings"} <= set(card.origin)
    assert (card.origin["films"], card.origin["settings"]["seed"]) == (10, 0)


def test_best_is_the_epoch_with_the_best_dice(learned: tuple[Path, list[EpochReport], str]):
    out, reports, _ = learned
    best = load_checkpoint(out / "best.safetensors")[1].scores["simulated validation"]
    assert best["mean dice"] == pytest.approx(max(report.mean_dice for report in reports), abs=1e-4)


def test_bf16_runs(films: Path, tmp_path: Path):
    (report,) = train(tiny(films, tmp_path, precision="bf16", epochs=1))
    assert np.isfinite(report.train_loss)
    load_checkpoint(tmp_path / "last.safetensors")


def test_seven_channels_and_the_report_s_input(films: Path, tmp_path: Path):
    grid = GridConfig(rows=64, columns=64, keep_aspect=False, intensity="minmax")
    network = UNetConfig(features=(4, 6), patch=1, norm="none", out_channels=7, prior=0.5)
    (report,) = train(tiny(films, tmp_path, network=network, grid=grid, epochs=1, average=0.0))
    assert np.shape(report.response) == (7, 6)
    _, card = load_checkpoint(tmp_path / "last.safetensors")
    assert (card.network.in_channels, card.network.out_channels) == (1, 7)
    case = read_case(labelled_films(films)[0])
    assert Segmenter.load(tmp_path / "last.safetensors", "cpu")(case.film).masks.shape == (6, *case.film.shape)


SHUFFLED: dict[str, Any] = {
    "augment": AugmentConfig(),
    "network": UNetConfig(features=(4, 6)),
    "grid": GridConfig(rows=64, columns=64),
    "seed": 4,
}


@pytest.fixture(scope="module")
def unbroken(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochReport]]:
    """Three epochs with shuffling and random changes, in one go."""
    AcceleratorState._reset_state(True)
    out = tmp_path_factory.mktemp("unbroken")
    return out, train(tiny(films, out, **SHUFFLED))


@pytest.mark.parametrize(("moment", "workers"), [("state saved", 1), ("state not yet saved", 0)])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_resumed_run_gives_the_same_weights(
    films: Path,
    unbroken: tuple[Path, list[EpochReport]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    workers: int,
):
    """Cut short after the second of three epochs, and gone on with; the number of workers changes nothing either."""
    expected_in, whole = unbroken
    settings = {**SHUFFLED, "workers": workers}
    save_state, calls = training._save_state, []

    def interrupted(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2 and moment == "state saved":
            save_state(*arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save_state(*arguments)

    monkeypatch.setattr(training, "_save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(films, tmp_path / "cut", **settings))
    assert len(history(tmp_path / "cut")) == 2
    monkeypatch.setattr(training, "_save_state", save_state)
    AcceleratorState._reset_state(True)
    torch.manual_seed(99)
    resumed = train(tiny(films, tmp_path / "cut", resume=True, **settings))
    assert [line["epoch"] for line in history(tmp_path / "cut")] == [0, 1, 2]
    for a, b in zip(whole, resumed, strict=True):
        assert (a.epoch, a.learning_rate) == (b.epoch, b.learning_rate)
        assert (a.train_loss, a.validation_loss) == pytest.approx((b.train_loss, b.validation_loss), rel=1e-5)
        assert np.allclose(a.response, b.response, atol=2e-4)
    for name in ("last.safetensors", "state/model.safetensors"):
        expected, got = load_file(expected_in / name), load_file(tmp_path / "cut" / name)
        assert expected.keys() == got.keys()
        assert max(float((expected[k].float() - got[k].float()).abs().max()) for k in expected) < 1e-6
    assert {p.name for p in (tmp_path / "cut").iterdir()} == {p.name for p in expected_in.iterdir()}


def test_a_run_in_two_pieces_is_the_run_in_one(films: Path, unbroken: tuple[Path, list[EpochReport]], tmp_path: Path):
    """stop_after ends a run; the schedule is that of all its epochs."""
    expected_in, whole = unbroken
    assert len(train(tiny(films, tmp_path, stop_after=1, **SHUFFLED))) == 1
    AcceleratorState._reset_state(True)
    assert [r.train_loss for r in train(tiny(films, tmp_path, resume=True, **SHUFFLED))] == [
        r.train_loss for r in whole
    ]
    expected, got = load_file(expected_in / "last.safetensors"), load_file(tmp_path / "last.safetensors")
    assert max(float((expected[k].float() - got[k].float()).abs().max()) for k in expected) < 1e-6


def test_epochs_come_in_different_orders(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    item = FilmDataset.__getitem__

    def noting(self: FilmDataset, position: int) -> Any:
        seen.append(self.indices[position])
        return item(self, position)

    monkeypatch.setattr(FilmDataset, "__getitem__", noting)
    train(tiny(films, tmp_path, epochs=2))
    trained_on, held_back = split_by_film(12, 1 / 6, 0)
    first, check, second = seen[:10], seen[10:12], seen[12:22]
    assert check == held_back
    assert sorted(first) == sorted(second) == trained_on
    assert first != second


def test_a_folder_that_holds_a_run_is_left_alone(films: Path, learned: tuple[Path, list[EpochReport], str]):
    out, _, _ = learned
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(BadInput, match=r"^expected an output folder without a run, got one that has one; set --resume"):
        train(tiny(films, out))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_nothing_to_resume(films: Path, tmp_path: Path):
    with pytest.raises(BadInput, match=r"^expected a run to resume, found no finished epoch"):
        train(tiny(films, tmp_path, resume=True))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"validation": 0.5}, "validation"),
        ({"network": UNetConfig(features=(8, 12))}, "network"),
        ({"grid": GridConfig(rows=64, columns=64)}, "grid"),
    ],
)
def test_a_run_is_resumed_with_its_own_settings(
    films: Path, learned: tuple[Path, list[EpochReport], str], tmp_path: Path, changes: dict[str, Any], named: str
):
    out = Path(shutil.copytree(learned[0], tmp_path / "run"))
    before = history(out)
    with pytest.raises(BadInput, match=rf"^expected the settings of the run to resume, got another {named};"):
        train(tiny(films, out, epochs=11, resume=True, **changes))
    assert history(out) == before


def test_starts_from_another_checkpoint(films: Path, learned: tuple[Path, list[EpochReport], str], tmp_path: Path):
    start = learned[0] / "last.safetensors"
    (report,) = train(tiny(films, tmp_path / "a", init=start, epochs=1, learning_rate=1e-4))
    assert report.train_loss < 0.9 * learned[1][0].train_loss
    with pytest.raises(BadInput, match=r"^expected a checkpoint of the same network and grid"):
        train(tiny(films, tmp_path / "b", init=start, grid=GridConfig(rows=64, columns=64)))


def test_a_grid_that_the_network_cannot_halve_is_refused(films: Path, tmp_path: Path):
    with pytest.raises(BadInput, match=r"^expected a grid in multiples of 8, which the network needs, got 100 x 128"):
        train(tiny(films, tmp_path / "a", grid=GridConfig(rows=100, columns=128)))
    assert not (tmp_path / "a").exists()


def test_labels_that_are_not_0_or_1_are_refused(films: Path, tmp_path: Path):
    folder = Path(shutil.copytree(films, tmp_path / "films"))
    shape = read_case(labelled_films(folder)[3]).film.shape
    stored = np.zeros((*shape, 7), np.uint8)
    stored[4:9, 4:9, 2] = 3
    scipy.io.savemat(folder / "label" / "S001-00003.mat", {KEY: stored})
    with pytest.raises(UnreadableLabel, match=r"^S001-00003: expected masks of 0 and 1 or of 0 and 255, got other"):
        train(tiny(folder, tmp_path / "a"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("value", [255.0, -0.5, float("nan")])
def test_targets_outside_0_to_1_are_refused(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float):
    item = FilmDataset.__getitem__

    def spoilt(self: FilmDataset, position: int) -> Any:
        image, targets = item(self, position)
        targets[2, 5, 5] = value
        return image, targets

    monkeypatch.setattr(FilmDataset, "__getitem__", spoilt)
    with pytest.raises(BadTarget, match=r"^expected targets within 0\.\.1, got"):
        train(tiny(films, tmp_path / "a"))
    assert not list((tmp_path / "a").glob("*.safetensors"))


def test_presets(tmp_path: Path):
    assert preset("default", tmp_path, tmp_path) == TrainConfig(tmp_path, tmp_path)
    for name, network in (("report-6", REPORT_6), ("report-7", REPORT_7)):
        config = preset(name, tmp_path, tmp_path)  # type: ignore[arg-type]
        assert config.network == network
        assert config.grid == GridConfig(rows=1024, columns=1024, keep_aspect=False, intensity="minmax")
        assert training._settled(config) == config
