"""Fine-tuning from end to end: the start is scored first and stays the best until an epoch does better."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from small import GRID, TINY, simulate_films, small_training, write_checkpoint

from spineseg.cli import main
from spineseg.data.dataset import FilmDataset
from spineseg.film import BadInput
from spineseg.model.checkpoint import load_checkpoint
from spineseg.training import loop, outcome, tensorboard
from spineseg.training.config import SCRATCH, TrainConfig
from spineseg.training.full_size import FOLDER, START, Score, read_score
from spineseg.training.history import read_films, read_history
from spineseg.training.loop import train
from spineseg.training.prepare import initial_network, weights_to_change
from spineseg.training.state import Stopped, StopRequest
from spineseg.training.tensorboard import MissingTensorBoard

pytestmark = pytest.mark.usefixtures("fresh_accelerator")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four to train on and two held back."""
    return simulate_films(tmp_path_factory.mktemp("films"), 6, 3)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that finds some bone everywhere."""
    path = tmp_path_factory.mktemp("start") / "before.safetensors"
    write_checkpoint(path, contrast=20.0, most_traces=0.4)
    return path


@pytest.fixture
def attended() -> Iterator[None]:
    """As in a terminal: in the background Ctrl+C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def tuning(films: Path, out: Path, start: Path, **changes: Any) -> TrainConfig:
    config = small_training(films, out, start=start, grid=GRID, epochs=2, batch=2, validation=1 / 3)
    return replace(config, **{"warmup_steps": 1, **changes})


def test_without_a_gain_the_start_stays_the_best(films: Path, start: Path, tmp_path: Path, capsys: Captured):
    reports = train(tuning(films, tmp_path / "run", start, learning_rate=0.0, weight_decay=0.0))
    assert [report.epoch for report in reports] == [0, 1, 2] == [r.epoch for r in read_history(tmp_path / "run")]
    assert reports[0].mean_dice == reports[2].mean_dice and reports[0].validation_loss == reports[2].validation_loss
    weights, card = load_checkpoint(tmp_path / "run" / "best.safetensors")
    before = load_checkpoint(start)
    assert card == before[1] and card.most_traces == 0.4
    assert all(torch.equal(a, b) for a, b in zip(weights.parameters(), before[0].parameters(), strict=True))
    said = capsys.readouterr().out
    assert "Fine-tuning before on 4 films, 2 held back: 2 epochs of 2 steps of 2 films, learning rate 0 after 1" in said
    assert said.index("before training: held back") < said.index("epoch 1: loss")
    assert "No gain over the start: best.safetensors is the checkpoint that training began with" in said
    assert "2 films held back cannot guard the numbering; --folds 5 scores every film" in said
    assert read_score(tmp_path / "run" / START) and not read_score(tmp_path / "run" / FOLDER)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "No gain over the start" in page and ">start</text>" in page and page.count("data:image/jpeg") == 2


@pytest.mark.parametrize("right", [0, 2])
def test_a_gain_on_the_grid_must_be_one_at_full_size_too(
    films: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: int
):
    """Better outlines on fewer rightly numbered films are no gain."""
    scores = iter([Score(0.5, 1, 2, {}, {}), Score(0.9, right, 2, {}, {})])
    monkeypatch.setattr(outcome, "score_films", lambda *_: next(scores))
    monkeypatch.setattr(loop, "best_of", lambda reports: reports[-1])
    monkeypatch.setattr(outcome, "best_of", lambda reports: reports[-1])
    train(tuning(films, tmp_path / "run", start))
    name = load_checkpoint(tmp_path / "run" / "best.safetensors")[1].name
    assert name == ("run" if right else "before")
    assert load_checkpoint(tmp_path / "run" / "last.safetensors")[1].name == "run"


def test_the_encoder_stays_and_the_rest_goes_half_of_the_way(films: Path, start: Path, tmp_path: Path):
    whole, half = tuning(films, tmp_path / "whole", start, keep=0.0), tuning(films, tmp_path / "half", start)
    train(whole)
    AcceleratorState._reset_state(True)
    train(half)
    before, after, between = (
        {name: value.float() for name, value in load_file(path).items()}
        for path in (start, whole.out / "last.safetensors", half.out / "last.safetensors")
    )
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith("down."), name
        assert torch.allclose((value + after[name]) / 2, between[name], rtol=2e-3, atol=1e-3), name


def test_all_weights_are_changed_where_that_is_asked(films: Path, start: Path, tmp_path: Path):
    config = tuning(films, tmp_path, start)
    counts = {tune: len(weights_to_change(initial_network(config), replace(config, tune=tune))) for tune in ("all",)}
    network = initial_network(config)
    assert counts["all"] == len(list(network.parameters()))
    assert len(weights_to_change(network, config)) == len([n for n, _ in network.named_parameters() if "down" not in n])


def test_a_read_only_folder_is_trained_on_and_not_written_to(films: Path, start: Path, tmp_path: Path):
    before = sorted(films.rglob("*"))
    train(tuning(films, tmp_path / "run", start, epochs=1, cache=tmp_path / "here"))
    AcceleratorState._reset_state(True)
    train(tuning(films, tmp_path / "other", start, epochs=1))
    assert sorted(films.rglob("*")) == before
    assert len(list((tmp_path / "here").iterdir())) == len(list((tmp_path / "spineseg-cache").iterdir())) == 1


def test_caches_of_several_folders_lie_side_by_side(films: Path, start: Path, tmp_path: Path):
    other = Path(shutil.copytree(films, tmp_path / "copied"))
    (other / "img" / "S003-00000.dcm").touch()
    for name, folder in (("a", films), ("b", other), ("c", films)):
        AcceleratorState._reset_state(True)
        train(tuning(folder, tmp_path / name, start, epochs=1))
    assert len(list((tmp_path / "spineseg-cache").iterdir())) == 2


@pytest.mark.usefixtures("attended")
def test_ctrl_c_ends_the_run_after_the_step_and_leaves_it_in_order(
    films: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    config, item, seen = tuning(films, tmp_path / "run", start, epochs=3), FilmDataset.__getitem__, []

    def pressed(self: FilmDataset, position: int) -> Any:
        if self.epoch == 1 and self.augmentation:
            seen.append(position)
            if len(seen) == 1:
                os.kill(os.getpid(), signal.SIGINT)
        return item(self, position)

    monkeypatch.setattr(FilmDataset, "__getitem__", pressed)
    with pytest.raises(Stopped):
        train(config)
    said = capsys.readouterr().out
    assert f"go on after epoch 1 with: python -m spineseg train --config {config.out / 'config.json'} --resume" in said
    assert [report.epoch for report in read_history(config.out)] == [0, 1]
    assert "1 epoch in" in (config.out / "report.html").read_text()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(FilmDataset, "__getitem__", item)
    AcceleratorState._reset_state(True)
    assert main(["train", "--config", str(config.out / "config.json"), "--resume"]) == 0
    assert [report.epoch for report in read_history(config.out)] == [0, 1, 2, 3]


def test_ctrl_c_before_the_first_epoch_ended_leaves_nothing_to_go_on_from(
    films: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    def pressed(*_: object) -> float:
        raise Stopped

    monkeypatch.setattr(loop, "_one_epoch", pressed)
    for name, begun in (("scratch", SCRATCH), ("tuned", start)):
        AcceleratorState._reset_state(True)
        with pytest.raises(Stopped):
            train(replace(tuning(films, tmp_path / name, start), start=begun, network=TINY))
        assert "no epoch was finished, so there is nothing to go on from" in capsys.readouterr().out
        assert (tmp_path / name / "report.html").exists() == (name == "tuned")


@pytest.mark.usefixtures("attended")
def test_a_second_ctrl_c_breaks_in():
    with StopRequest(allowed=True) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.made
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopRequest(allowed=False):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"resume": True}, BadInput, "expected a run to resume, found no finished epoch"),
        ({"tensorboard": True}, MissingTensorBoard, "expected the package tensorboard, found none"),
        ({"warmup_steps": 40}, BadInput, "A warm-up of 40 steps is longer than the run of 4"),
    ],
)
def test_what_cannot_be_done_is_said_before_films_are_read(
    films: Path,
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[BadInput],
    sentence: str,
):
    def absent() -> Any:
        raise MissingTensorBoard("expected the package tensorboard, found none")

    monkeypatch.setattr(tensorboard, "_summary_writer", absent)
    monkeypatch.setattr(loop, "prepare", lambda *_: pytest.fail("films were read"))
    with pytest.raises(error, match=f"^{sentence}"):
        train(tuning(films, tmp_path / "run", start, **changes))
    assert not (tmp_path / "run").exists()


def test_the_films_of_a_run_are_known_to_evaluate(films: Path, start: Path, tmp_path: Path, capsys: Captured):
    run, out = tmp_path / "run", tmp_path / "out"
    train(tuning(films, run, start, epochs=1))
    capsys.readouterr()
    assert main(["evaluate", "--held-back", str(run), "--out", str(out)]) == 0
    assert "warning" not in capsys.readouterr().err
    assert read_score(out) == read_score(run / START) or read_score(out) == read_score(run / FOLDER)
    scored = read_score(out)
    assert scored and set(scored.film_dice) == set(read_films(run / "best.csv"))
    best = ["--checkpoint", str(run / "best.safetensors")]
    assert main(["evaluate", "--data", str(films), "--out", str(out), *best]) == 0
    assert "warning: best.safetensors was trained on 4 of these 6 films, so" in capsys.readouterr().err
    assert main(["evaluate", "--out", str(out)]) == 1
    assert "There is nothing to score; name a folder as --data" in capsys.readouterr().err
    assert main(["evaluate", "--out", str(out), "--held-back", str(films)]) == 1
    assert "found no config.json" in capsys.readouterr().err


def test_a_plan_is_made_without_a_training(films: Path, start: Path, tmp_path: Path, capsys: Captured):
    before = sorted(films.rglob("*"))
    settings = tmp_path / "config.json"
    config = tuning(films, tmp_path / "run", start, epochs=None, warmup_steps=None)
    settings.write_text(json.dumps(loop.asdict(config), default=str))
    assert main(["train", "--config", str(settings), "--dry-run", "--seed", "5"]) == 0
    said = capsys.readouterr().out
    assert "Fine-tuning before on 4 films, 2 held back: 4 epochs of 20 steps of 2 films, learning rate 0.01 aft" in said
    assert "after 8 steps of warm-up" in said and "s a step, measured;" in said and "GB" in said
    (line,) = (line for line in said.splitlines() if line.startswith("held back: "))
    assert line.count("S003-") == 2
    assert not (tmp_path / "run").exists() and sorted(films.rglob("*")) == before
    assert TINY.stride == 4
