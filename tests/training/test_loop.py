"""train: a tiny network on twelve simulated films learns, resumes, and says what it did."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from accelerate.state import AcceleratorState
from processes import shared_unevenly
from safetensors.torch import load_file
from small import simulate_films
from small import small_training as tiny

from spineseg.data.augment import AugmentConfig
from spineseg.data.dataset import FilmDataset
from spineseg.data.split import hold_back
from spineseg.film import VERTEBRAE, BadInput
from spineseg.inference.segmenter import Segmenter
from spineseg.io.folder import labelled_films, read_case
from spineseg.model.checkpoint import load_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.losses import BadTarget
from spineseg.training import loop as training
from spineseg.training.config import read_config
from spineseg.training.fit import fitted, with_steps
from spineseg.training.history import EpochReport, describe, read_films, read_history
from spineseg.training.loop import Diverged, NoMemory, train

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten to train on and two held back: two steps per epoch."""
    return simulate_films(tmp_path_factory.mktemp("films"), 12, 3)


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


LEARNER: dict[str, Any] = {
    "network": UNetConfig(features=(8, 12, 16)),
    "grid": GridConfig(rows=128, columns=128),
    "augment": AugmentConfig.none(),
    "seed": 0,
}
"""Large enough to learn something in twenty steps."""


@pytest.fixture(scope="module")
def learned(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochReport], str]:
    """Twenty steps without random changes: the folder, the reports, and what was printed."""
    AcceleratorState._reset_state(True)
    out = tmp_path_factory.mktemp("run") / "new"
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        reports = train(tiny(films, out, epochs=10, **LEARNER))
    return out, reports, "\n".join(printed)


def test_the_loss_falls_and_every_epoch_is_reported(learned: tuple[Path, list[EpochReport], str]):
    out, reports, printed = learned
    assert [report.epoch for report in reports] == list(range(1, 11))
    assert reports[-1].train_loss < 0.9 * reports[0].train_loss
    assert reports[-1].validation_loss < reports[0].validation_loss
    assert reports[-1].learning_rate < 1e-3
    assert [EpochReport(**line) for line in history(out)] == reports
    for report in reports:
        assert len(report.dice) == 6 and np.shape(report.response) == (6, 6)
        assert 0 <= np.min(report.response) <= np.max(report.response) <= 1
    assert "Training from scratch on 10 films, 2 held back: 10 epochs of 2 steps of 5 films" in printed
    assert describe(reports[-1]) in printed
    config = tiny(read_config(out).data, out, epochs=10, **LEARNER)
    assert read_config(out) == with_steps(fitted(config, 12), 10)


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
    assert card.name == "new"
    assert card.scores["held back"]["epoch"] == 10
    assert card.scores["held back"]["dice"] == dict(zip(VERTEBRAE, reports[-1].dice, strict=True))
    assert {"command", "commit", "films", "seconds", "hardware", "versions", "settings"} <= set(card.origin)
    assert (card.origin["films"], card.origin["settings"]["seed"]) == (10, 0)
    page = (out / "report.html").read_text()
    assert f"{len(reports)} epochs" in page and page.count("data:image/jpeg;base64,") == 2
    best = load_checkpoint(out / "best.safetensors")[1].scores["held back"]
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


@pytest.fixture(scope="module")
def unbroken(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochReport]]:
    """Three epochs in one go."""
    AcceleratorState._reset_state(True)
    out = tmp_path_factory.mktemp("unbroken")
    return out, train(tiny(films, out))


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
    save_state, calls = training.save_state, []

    def interrupted(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2 and moment == "state saved":
            save_state(*arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save_state(*arguments)

    monkeypatch.setattr(training, "save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(films, tmp_path / "cut", workers=workers))
    assert len(history(tmp_path / "cut")) == 2
    monkeypatch.setattr(training, "save_state", save_state)
    AcceleratorState._reset_state(True)
    torch.manual_seed(99)
    resumed = train(tiny(films, tmp_path / "cut", resume=True, workers=workers))
    assert [line["epoch"] for line in history(tmp_path / "cut")] == [1, 2, 3]
    assert_alike(resumed, whole, 1e-6)
    for name in ("last.safetensors", "state/model.safetensors"):
        assert largest_difference(expected_in / name, tmp_path / "cut" / name) < 1e-6
    assert {p.name for p in (tmp_path / "cut").iterdir()} == {p.name for p in expected_in.iterdir()}


def test_epochs_come_in_different_orders(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    item = FilmDataset.__getitem__

    def noting(self: FilmDataset, position: int) -> Any:
        seen.append(self.indices[position])
        return item(self, position)

    monkeypatch.setattr(FilmDataset, "__getitem__", noting)
    train(tiny(films, tmp_path, epochs=2))
    first, check, second = seen[:10], seen[10:12], seen[12:22]
    assert check == hold_back(range(12), 1 / 6, 4)
    assert sorted(first) == sorted(second) == sorted({*range(12)} - {*check})
    assert first != second


def test_a_folder_that_holds_a_run_is_left_alone_and_one_without_not_resumed(
    films: Path, learned: tuple[Path, list[EpochReport], str], tmp_path: Path
):
    with pytest.raises(BadInput, match=r"^expected a run to resume, found no finished epoch"):
        train(tiny(films, tmp_path, resume=True))
    out, _, _ = learned
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(BadInput, match=r"^expected an output folder without a run, got one that has one; set --resume"):
        train(tiny(films, out))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"validation": 0.5}, "validation"),
        ({"network": UNetConfig(features=(4, 8))}, "network"),
        ({"grid": GridConfig(rows=64, columns=128)}, "grid"),
        ({"optimiser": "sgd"}, "optimiser"),
    ],
)
def test_a_run_is_resumed_with_its_own_settings(
    films: Path, unbroken: tuple[Path, list[EpochReport]], tmp_path: Path, changes: dict[str, Any], named: str
):
    out = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    before = history(out)
    with pytest.raises(BadInput, match=rf"^expected the settings of the run to resume, got another {named};"):
        train(tiny(films, out, epochs=4, resume=True, **changes))
    assert history(out) == before


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda targets: targets * 255, r"expected targets within 0\.\.1, got 0 to 255; "),
        (lambda targets: targets[::-1], "expected L1 above S1 on every film, got one the other way round;"),
    ],
)
def test_wrong_targets_are_refused_unless_they_are_asked_for(
    films: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], sentence: str
):
    with pytest.raises(BadTarget, match=f"^{sentence}"):
        train(tiny(films, tmp_path / "a"), transform=lambda image, targets, inside, _: (image, change(targets), inside))
    assert not list((tmp_path / "a").glob("*.safetensors"))


def test_a_transform_changes_training_films_alone(
    films: Path, unbroken: tuple[Path, list[EpochReport]], tmp_path: Path
):
    """With targets of -1 and 0, where they are let through, cross-entropy falls below zero on those alone."""
    config = tiny(films, tmp_path / "a", epochs=1, loss="bce", check_targets=False)
    (report,) = train(config, transform=lambda image, targets, inside, _: (image, targets - 1, inside))
    assert report.train_loss < 0 < report.validation_loss
    seen: list[float] = []

    def unchanged(image: np.ndarray, targets: np.ndarray, inside: np.ndarray, _: np.random.Generator) -> Arrays:
        seen.append(float(targets.max()))
        return image, targets, inside

    AcceleratorState._reset_state(True)
    assert_alike(train(tiny(films, tmp_path / "b"), transform=unchanged), unbroken[1], 1e-5)
    assert len(seen) == 3 * 10 and max(seen) == 1


def largest_difference(a: Path, b: Path) -> float:
    """Between the weights of two safetensors files."""
    one, other = load_file(a), load_file(b)
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def assert_alike(one: list[EpochReport], other: list[EpochReport], tolerance: float) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a.epoch, a.learning_rate) == (b.epoch, b.learning_rate)
        assert (a.train_loss, a.validation_loss) == pytest.approx((b.train_loss, b.validation_loss), abs=tolerance)
        assert np.allclose(a.dice, b.dice, atol=2e-4, equal_nan=True)
        assert np.allclose(a.response, b.response, atol=2e-4)


def test_a_batch_in_pieces_is_the_batch_in_one(films: Path, unbroken: tuple[Path, list[EpochReport]], tmp_path: Path):
    """Three films and two; accumulated gradients are those of all five at once."""
    expected_in, whole = unbroken
    assert_alike(train(tiny(films, tmp_path, accumulate=2)), whole, 1e-5)
    assert largest_difference(expected_in / "state/model.safetensors", tmp_path / "state/model.safetensors") < 1e-5


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def in_processes(count: int, *arguments: str) -> None:
    """Run processes.py as torchrun does, which sets these variables."""
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, "-c", LAUNCH, str(Path(__file__).parents[1] / "processes.py"), *arguments]
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **{name: str(value) for name, value in {**common, "RANK": k, "LOCAL_RANK": k}.items()}},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k in range(count)
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * count, "\n".join(said)


LAUNCH = (
    "import runpy, sys; sys.path[:0] = ['.', 'tests']; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')"
)
"""Runs a file with the checkout's own spineseg."""


def test_two_processes_agree_with_one_and_resume(films: Path, tmp_path: Path):
    """Real processes that speak over gloo; in each, a run in one go and the same in two pieces with a worker."""
    in_processes(2, str(films), str(tmp_path))
    alone = train(shared_unevenly(films, tmp_path / "alone"))
    for name in ("whole", "pieces"):
        assert_alike(read_history(tmp_path / name), alone, 1e-5)
        difference = largest_difference(
            tmp_path / name / "state/model.safetensors", tmp_path / "alone/state/model.safetensors"
        )
        assert difference < 1e-5
        assert {p.name for p in (tmp_path / name).iterdir()} == {p.name for p in (tmp_path / "alone").iterdir()}
    assert (tmp_path / "whole" / "state" / "random_states_1.pkl").exists(), "both wrote their part"
    assert read_films(tmp_path / "whole/best.csv").keys() == read_films(tmp_path / "alone/best.csv").keys()


def test_processes_that_do_not_hear_each_other_are_refused(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Else each would train by itself and write over the others' files."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with pytest.raises(BadInput, match=r"^expected 2 processes to train together, got each alone"):
        train(tiny(films, tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_batch_that_processes_cannot_share_is_refused(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training.Accelerator, "num_processes", property(lambda _: 2))
    with pytest.raises(BadInput, match=r"^expected films per step that 2 processes share evenly, got 5; set --batch"):
        train(tiny(films, tmp_path / "a"))


def test_training_ends_when_nothing_gets_better(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    still: dict[str, Any] = {"learning_rate": 0.0, "weight_decay": 0.0, "epochs": 9, "patience": 2}
    assert len(train(tiny(films, tmp_path, **still))) == 3
    said = capsys.readouterr().out
    assert "no better Dice for 2 epochs" in said
    assert re.search(
        r"best: epoch 1, .*best\.safetensors\n.*at full size: Dice .*\n2 films held back .*\n.*report\.html\n$", said
    )
    assert load_checkpoint(tmp_path / "best.safetensors")[1].scores["held back"]["epoch"] == 1
    AcceleratorState._reset_state(True)
    assert len(train(tiny(films, tmp_path, **{**still, "resume": True}))) == 3
    AcceleratorState._reset_state(True)
    assert len(train(tiny(films, tmp_path, **{**still, "resume": True, "patience": 3}))) == 4


def test_a_loss_that_is_no_number_stops_and_leaves_the_last_good_state(
    films: Path, unbroken: tuple[Path, list[EpochReport]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    item = FilmDataset.__getitem__

    def spoilt(self: FilmDataset, position: int) -> Any:
        image, targets = item(self, position)
        return (image * float("inf") if self.epoch == 1 else image), targets

    monkeypatch.setattr(FilmDataset, "__getitem__", spoilt)
    with pytest.raises(Diverged, match=r"^expected a finite loss, got nan in step 1 of epoch 2; go on from the last"):
        train(tiny(films, tmp_path))
    assert len(history(tmp_path)) == 1
    assert all(bool(torch.isfinite(w).all()) for w in load_file(tmp_path / "state/model.safetensors").values())
    load_checkpoint(tmp_path / "last.safetensors")
    monkeypatch.setattr(FilmDataset, "__getitem__", item)
    AcceleratorState._reset_state(True)
    assert_alike(train(tiny(films, tmp_path, resume=True)), unbroken[1], 1e-5)


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        (2, "expected memory on cpu for 3 films at once, got too little; set --accumulate 4, the same step in smaller"),
        (5, "expected memory on cpu for 1 films at once, got too little; choose a smaller grid"),
    ],
)
def test_a_step_without_memory_stops_and_says_what_to_do(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int, sentence: str
):
    def without_memory(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setitem(training.LOSSES, "bce+dice", without_memory)
    with pytest.raises(NoMemory, match=re.escape(sentence)):
        train(tiny(films, tmp_path, accumulate=pieces))


def test_films_of_a_patient_are_held_back_together_and_nobody_is_named(films: Path, tmp_path: Path):
    folder, out = Path(shutil.copytree(films, tmp_path / "films")), tmp_path / "out"
    for number, path in enumerate(sorted((folder / "img").iterdir())):
        header = pydicom.dcmread(path)
        header.PatientID = f"Kim^Nobody^{number % 3}"
        header.save_as(path)
    train(tiny(folder, out, patients="dicom", epochs=1, warmup_steps=1))
    held = read_films(out / "best.csv").keys()
    assert len(held) == 4 and len({int(name[-5:]) % 3 for name in held}) == 1
    written = [path for top in (out, tmp_path / "spineseg-cache") for path in top.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not [path for path in written if b"Nobody" in path.read_bytes()]
