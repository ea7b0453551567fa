"""run_report: one page that holds all it shows, says what was measured, and is drawn from files alone."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import GRID, TINY, simulate_films, write_checkpoint

from spineseg.evaluation.evaluate import FilmScore, summarise
from spineseg.evaluation.metrics import AnatomyFaults
from spineseg.film import BadInput
from spineseg.inference.verdict import RELIABLE
from spineseg.io.files import nullified
from spineseg.training.config import SCRATCH, TrainConfig
from spineseg.training.full_size import FOLDER, START
from spineseg.training.history import BEST_FILMS, EpochReport, write_films, write_history
from spineseg.training.report import chart, shown_films, write_report

REPORTS = [
    EpochReport(1, 0.9, 1.2, [0.1] * 5 + [math.nan], (np.eye(6) * 0.2).tolist(), 1e-3, 60.0),
    EpochReport(2, 0.5, 0.8, [0.7] * 5 + [math.nan], (np.eye(6) * 0.6).tolist(), 5e-4, 60.0),
    EpochReport(3, 0.4, 0.9, [0.6] * 5 + [math.nan], (np.eye(6) * 0.5).tolist(), 0.0, 60.0),
]
DICE = {"S001-00000": [0.9] * 6, "S001-00002": [0.4] * 5 + [math.nan], "S001-00001": [0.2] * 6}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's files, without any training."""
    data, out = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("run")
    simulate_films(data, 3)
    config = TrainConfig(data, out, SCRATCH, name="<mine>", network=TINY, grid=GRID, description="a & b")
    (out / "config.json").write_text(json.dumps(asdict(config), default=str))
    write_checkpoint(out / "best.safetensors")
    write_history(out, REPORTS)
    write_films(out / BEST_FILMS, list(DICE), np.array(list(DICE.values())))
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


class Reader(HTMLParser):
    """Notes the text, every address, and tags that are not closed in order."""

    EMPTY = frozenset({"meta", "img", "br", "path", "circle", "polyline"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: Path) -> Reader:
    reader = Reader(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def test_the_page_asks_for_nothing_outside_itself(run: Path):
    page = read(write_report(run))
    assert len(page.addresses) == 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe", "object", "base", "form"}
    text = (run / "report.html").read_text()
    assert "http" not in text.replace("http-equiv", "") and "@import" not in text and "url(" not in text
    assert "default-src 'none'; img-src data:" in text


def test_the_page_says_what_the_best_epoch_gave(run: Path):
    words = " ".join(read(write_report(run)).words)
    assert "3 epochs in 3.0 minutes; the best on the films held back, on the network’s grid, is epoch 2" in words
    assert "with a mean Dice of  0.700" in words
    assert "0.600" in words and "–" in words
    assert "<mine>" in words and "a & b" in words
    assert str(run.parent) not in (run / "report.html").read_text()


def test_the_worst_films_come_first_and_then_the_best():
    means = {"a": 0.9, "b": 0.2, "c": 0.5, "d": math.nan, "e": 0.7, "f": 0.8}
    assert shown_films(means, worst=2, best=1) == ["b", "c", "a"]
    assert shown_films(means) == ["b", "c", "e", "f", "a"]
    assert shown_films({"a": 0.9, "b": 0.2}) == ["b", "a"]


def test_films_are_named_from_the_worst_to_the_best(run: Path):
    captions = [word for word in read(write_report(run)).words if word.startswith("S001-")]
    assert captions == ["S001-00001", "S001-00002", "S001-00000"]


def test_the_pictures_show_label_and_prediction(run: Path):
    """Two films side by side, the left one with coloured vertebrae; the untrained network marks nothing."""
    first = read(write_report(run)).addresses[0].split(",")[1]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(first), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape[0] == 128 + 16
    colour = np.ptp(picture.astype(int), axis=2) > 35
    middle = colour.shape[1] // 2
    assert colour[:, :middle].mean() > 0.002
    assert colour[:, middle:].mean() < 0.001


def write_score(folder: Path, dice: float, right: int) -> None:
    """As `evaluate` writes it, for the three films."""
    scores = [score(name, dice) for name in DICE]
    summary = summarise(scores, checkpoint="x")
    stored = asdict(replace(summary, levels_right=replace(summary.levels_right, k=right)))
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(nullified(stored)))
    (folder / "films.csv").write_text("film,mean_dice\n" + "".join(f"{name},{dice}\n" for name in DICE))


def score(name: str, dice: float) -> FilmScore:
    figures, present = np.full(6, dice), (True,) * 6
    return FilmScore(
        name, figures, figures, figures, figures, present, present, (1.0,) * 6, RELIABLE, (), True, AnatomyFaults(), 0.1
    )


@pytest.mark.parametrize(
    ("dice", "right", "sentence"),
    [
        (0.8, 2, "The films held back at full size: Dice 0.800, all levels right on 2 of 3; before, Dice 0.700, all"),
        (0.8, 1, "No gain over the start at full size (Dice 0.800, all levels right on 1 of 3; before, Dice 0.700, "),
        (0.6, 3, "No gain over the start at full size"),
    ],
)
def test_the_full_size_scores_are_told_beside_those_of_the_start(run: Path, dice: float, right: int, sentence: str):
    write_score(run / START, 0.7, 2)
    write_score(run / FOLDER, dice, right)
    words = " ".join(read(write_report(run)).words)
    assert sentence in words and f"{right} of 3" in words and "2 of 3" in words


def test_a_start_that_nothing_was_better_than_is_said_to_be_the_best(run: Path):
    write_score(run / START, 0.7, 2)
    assert "No gain over the start: best.safetensors is the checkpoint that" in " ".join(read(write_report(run)).words)


def test_without_the_films_the_figures_stay(run: Path):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "data": str(run / "moved")}))
    page = read(write_report(run))
    assert page.addresses == []
    assert "S001-00001" in page.words


def test_a_run_that_has_only_begun_has_a_page(run: Path):
    write_history(run, REPORTS[:1])
    (run / BEST_FILMS).unlink()
    assert "1 epoch in 1.0 minutes" in " ".join(read(write_report(run)).words)
    write_history(run, [])
    assert "No epoch is finished yet." in read(write_report(run)).words


def test_a_background_channel_and_a_loss_below_zero_are_shown(run: Path):
    write_history(run, [replace(r, response=(np.eye(7, 6) * 0.5).tolist(), train_loss=-50.0) for r in REPORTS])
    page = read(write_report(run))
    assert "background" in page.words and "-50" in page.words


def luminance(colour: Sequence[float]) -> float:
    """Of sRGB, 0..255. Source: WCAG 2.2."""
    red, green, blue = (c / 3294.6 if c <= 10.31 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_figures_in_blue_cells_can_be_read(run: Path):
    response = np.linspace(0, 1, 36).reshape(6, 6).tolist()
    write_history(run, [replace(r, response=response) for r in REPORTS])
    cells = re.findall(r"background:rgba\(0,114,178,([\d.]+)\);color:(#fff|inherit)", write_report(run).read_text())
    assert len(cells) == 36
    for share, ink in cells:
        behind = luminance([255 + (c - 255) * float(share) for c in (0, 114, 178)])
        light, dark = (1.0, behind) if ink == "#fff" else (behind, 0.0)
        assert (light + 0.05) / (dark + 0.05) >= 4.45, share


@pytest.mark.parametrize("missing", ["config.json", "history.jsonl"])
def test_what_is_no_run_is_refused(run: Path, missing: str):
    (run / missing).unlink()
    with pytest.raises(BadInput, match=r"^expected a training run, found no"):
        write_report(run)
    (run / missing).write_text("{")
    with pytest.raises(BadInput, match=r", got another"):
        write_report(run)


def test_a_chart_puts_values_where_they_belong():
    drawn = chart("Loss", {"a": ("#123456", [0.0, math.nan, 4.0]), "b": ("#654321", [2.0, 2.0, 2.0])})
    lines = re.findall(r'<polyline points="([^"]*)"', drawn)
    assert lines == ["62.0,212.0 388.0,14.0", "62.0,113.0 225.0,113.0 388.0,113.0"]
    assert [text for text in re.findall(r">([^<>]+)</text>", drawn)] == ["0", "1", "2", "3", "4", "epoch 1", "3"]
    assert ">start</text>" in chart("Loss", {"a": ("#123456", [1.0, 2.0])}, 0)


def test_a_chart_of_nothing_is_no_error():
    assert "<svg" in chart("Loss", {"a": ("#123456", [math.nan])})
    assert "<svg" in chart("Loss", {"a": ("#123456", [1.0])})
