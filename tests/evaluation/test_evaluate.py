"""evaluate: a fake segmenter on small films whose scores are known by hand."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from predictions import predicted
from small import rectangles

from spineseg.evaluation.evaluate import DICE_COLUMNS, FILM_COLUMNS, evaluate, summary_table
from spineseg.film import VERTEBRAE, BadInput, Case, Film, Masks, Spacing
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import CHECK, NOT_LUMBAR, RELIABLE
from spineseg.io.answers import UNANSWERED, Answers
from spineseg.io.dicom_write import write_film
from spineseg.io.folder import FilmFiles, find_films, labelled_films, read_case
from spineseg.io.labels import write_array, write_mat
from spineseg.io.processes import Processes

ROWS, COLUMNS = 170, 100
L1, L2, L3, L4, L5, S1 = range(6)


def spine() -> Masks:
    """Six bodies, each 20 rows high and 30 columns deep."""
    return rectangles((ROWS, COLUMNS), 6, 26, 20, 30, 30)


def film(number: int = 0, spacing: Spacing | None = None) -> Film:
    """A film that tells its number to the fake segmenter by its first pixel."""
    image = np.tile(np.arange(COLUMNS, dtype=np.float32), (ROWS, 1))
    image[0, 0] = number
    return Film(image, spacing)


def report(*reasons: str) -> LevelReport:
    """To be checked for these reasons, reliable without any."""
    confidence = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    return LevelReport((True,) * 6, confidence, margin=1.0, verdict=CHECK if reasons else RELIABLE, reasons=reasons)


class FakeSegmenter:
    """Answers film number n as told."""

    name = "fake-1"

    def __init__(self, answers: dict[int, Callable[[Masks], Masks]], doubtful: tuple[int, ...] = ()) -> None:
        self.answers, self.doubtful = answers, doubtful

    def __call__(self, film: Film) -> Prediction:
        number = int(film.image[0, 0])
        levels = report("the sacrum is cut off", "L1 is faint") if number in self.doubtful else report()
        return predicted(self.answers[number](spine()), levels)


def same(masks: Masks) -> Masks:
    return masks


def five_to_the_right(masks: Masks) -> Masks:
    return np.roll(masks, 5, axis=2)


def one_level_off(masks: Masks) -> Masks:
    return np.roll(masks, 1, axis=0)


def without_l1(masks: Masks) -> Masks:
    masks[L1] = False
    return masks


def films(count: int) -> list[FilmFiles]:
    return [FilmFiles(f"F{k}", Path(f"F{k}.dcm"), Path(f"F{k}.npy")) for k in range(count)]


def read_fake(files: FilmFiles) -> Case:
    return Case(files.name, film(int(files.name[1:])), spine())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


class Unconnected(Processes):
    """Waits for nobody."""

    def wait(self) -> None:
        pass


def test_a_process_that_comes_late_takes_its_own_share(tmp_path: Path):
    """Whatever the others have answered before it began, and no film is left out."""
    segmenter = FakeSegmenter(dict.fromkeys(range(6), same))
    shared = films(6)
    for files in shared:
        for path in (files.film, files.label):
            assert path is not None and not path.exists(), "one key for each name"
    first = evaluate(segmenter, shared, tmp_path, read=read_fake, answers=Answers(tmp_path, "", Unconnected(0, 2)))
    assert first.n == 3 and first.failed == dict.fromkeys(("F1", "F3", "F5"), UNANSWERED)
    late = evaluate(segmenter, shared, tmp_path, read=read_fake, answers=Answers(tmp_path, "", Unconnected(1, 2)))
    assert late.n == 6 and late.failed == {}


def test_scores_known_by_hand(tmp_path: Path):
    segmenter = FakeSegmenter({0: same, 1: five_to_the_right})
    summary = evaluate(segmenter, films(2), tmp_path, read=read_fake)
    rows = rows_of(tmp_path / "dice.csv")
    assert [(row["film"], row["vertebra"]) for row in rows] == [(f, v) for f in ("F0", "F1") for v in VERTEBRAE]
    assert rows[0] == {
        "film": "F0",
        "vertebra": "L1",
        "dice": "1.0000",
        "iou": "1.0000",
        "hausdorff95_px": "0.0000",
        "hausdorff95_l3_share": "0.0000",
        "present_in_reference": "1",
        "present_in_prediction": "1",
        "confidence": "1.0000",
    }
    assert [float(rows[7][name]) for name in DICE_COLUMNS[2:6]] == pytest.approx(
        [25 / 30, 25 / 35, 5, 5 / 30], abs=1e-4
    )
    assert summary.checkpoint == "fake-1"
    assert summary.dice.mean == pytest.approx((1 + 25 / 30) / 2)
    assert summary.dice_per_vertebra["S1"].mean == pytest.approx((1 + 25 / 30) / 2)
    assert summary.hausdorff95_l3_share.mean == pytest.approx((0 + 5 / 30) / 2)
    assert (summary.levels_right.k, summary.levels_right.n) == (2, 2)
    assert summary.dice.low < summary.dice.mean < summary.dice.high
    assert summary.dice.n == 2


def test_films_table(tmp_path: Path):
    segmenter = FakeSegmenter({0: same, 1: one_level_off, 2: same}, doubtful=(1, 2))
    summary = evaluate(segmenter, films(3), tmp_path, read=read_fake)
    rows = rows_of(tmp_path / "films.csv")
    assert tuple(rows[0]) == FILM_COLUMNS
    assert [row["mean_dice"] for row in rows] == ["1.0000", "0.0000", "1.0000"]
    assert [row["levels_right"] for row in rows] == ["1", "0", "1"]
    assert [row["verdict"] for row in rows] == [RELIABLE, CHECK, CHECK]
    assert rows[1]["reasons"] == "the sacrum is cut off; L1 is faint"
    assert rows[1]["anatomy_faults"] == "out of order: L2"
    assert all(float(row["seconds"]) >= 0 for row in rows)
    assert summary.verdicts == {
        RELIABLE: {"right": 1, "wrong": 0},
        CHECK: {"right": 1, "wrong": 1},
        NOT_LUMBAR: {"right": 0, "wrong": 0},
    }
    assert summary.anatomy_faults == 1


def test_a_vertebra_on_one_side_only_costs_its_dice_and_is_counted(tmp_path: Path):
    summary = evaluate(FakeSegmenter({0: without_l1}), films(1), tmp_path, read=read_fake)
    row = rows_of(tmp_path / "dice.csv")[L1]
    assert (row["dice"], row["hausdorff95_px"], row["hausdorff95_l3_share"]) == ("0.0000", "inf", "inf")
    assert (row["present_in_reference"], row["present_in_prediction"]) == ("1", "0")
    assert summary.dice.mean == pytest.approx(5 / 6)
    assert summary.hausdorff95_l3_share.mean == 0
    assert summary.one_sided == 1
    assert summary.levels_right.k == 0


def test_a_vertebra_on_neither_side_has_no_score(tmp_path: Path):
    def read(files: FilmFiles) -> Case:
        return Case(files.name, film(), without_l1(spine()))

    summary = evaluate(FakeSegmenter({0: without_l1}), films(1), tmp_path, read=read)
    assert rows_of(tmp_path / "dice.csv")[L1]["dice"] == ""
    assert summary.dice.mean == 1
    assert math.isnan(summary.dice_per_vertebra["L1"].mean)
    assert summary.dice_per_vertebra["L1"].n == 0
    assert json.loads((tmp_path / "summary.json").read_text())["dice_per_vertebra"]["L1"]["mean"] is None


def test_distances_know_the_shape_of_a_pixel(tmp_path: Path):
    def read(files: FilmFiles) -> Case:
        return Case(files.name, film(spacing=Spacing(0.3, 0.2, "detector")), spine())

    segmenter = FakeSegmenter({0: lambda masks: np.roll(masks, 4, axis=1)})
    evaluate(segmenter, films(1), tmp_path, read=read)
    row = rows_of(tmp_path / "dice.csv")[L2]
    assert float(row["hausdorff95_px"]) == pytest.approx(6)
    assert float(row["hausdorff95_l3_share"]) == pytest.approx(6 / 30, abs=1e-4)


def test_unlabelled_films_are_listed_and_bad_ones_reported_and_the_rest_go_on(tmp_path: Path):
    def read(files: FilmFiles) -> Case:
        if files.name == "F0":
            raise BadInput("expected one frame, got 12; export a single image")
        if files.name == "F1":
            raise PermissionError(13, "Permission denied", "/somewhere/F1.dcm")
        return read_fake(files)

    unlabelled = FilmFiles("D01", tmp_path / "missing.dcm", None)
    summary = evaluate(FakeSegmenter({2: same}), [unlabelled, *films(3)], tmp_path, read=read)
    assert summary.unlabelled == ("D01",)
    assert summary.failed == {
        "F0": "expected one frame, got 12; export a single image",
        "F1": "expected a readable file, got: Permission denied",
    }
    assert [row["film"] for row in rows_of(tmp_path / "films.csv")] == ["F2"]
    table = summary_table(summary)
    assert "F0: expected one frame, got 12; export a single image" in table
    assert "not scored: D01" in table


def test_a_segmenter_that_refuses_a_film_is_reported_and_a_mistake_of_our_own_raised(tmp_path: Path):
    def refuse(_: Film) -> Prediction:
        raise BadInput("expected a film of at least 64 rows, got 3; take another")

    summary = evaluate(refuse, films(1), tmp_path, read=read_fake)
    assert (list(summary.failed), summary.n, summary.checkpoint) == (["F0"], 0, "refuse")
    with pytest.raises(KeyError):
        evaluate(FakeSegmenter({}), films(1), tmp_path, read=read_fake)


def test_nothing_scored_is_said_so(tmp_path: Path):
    summary = evaluate(FakeSegmenter({}), [FilmFiles("D01", Path("D01.dcm"), None)], tmp_path)
    assert summary.n == 0
    assert (tmp_path / "dice.csv").read_text() == ",".join(DICE_COLUMNS) + "\n"
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["dice"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert "0 films" in summary_table(summary)


def test_summary_and_table_hold_every_figure_and_are_repeatable(tmp_path: Path):
    segmenter = FakeSegmenter({0: same, 1: five_to_the_right, 2: one_level_off})
    stored = []
    for folder in (tmp_path / "new" / "folder", tmp_path / "again"):
        summary = evaluate(segmenter, films(3), folder, read=read_fake)
        stored.append(json.loads((folder / "summary.json").read_text()) | {"seconds": 0})
        assert {path.name for path in folder.iterdir()} == {"dice.csv", "films.csv", "summary.json"}
        assert stored[-1]["dice"]["mean"] == summary.dice.mean
    assert stored[0] == stored[1]
    assert (tmp_path / "new/folder/dice.csv").read_bytes() == (tmp_path / "again/dice.csv").read_bytes()
    assert (stored[0]["checkpoint"], stored[0]["n"], stored[0]["levels_right"]["k"]) == ("fake-1", 3, 2)
    assert stored[0]["levels_right"]["low"] < 2 / 3 < stored[0]["levels_right"]["high"]
    assert list(stored[0]["dice_per_vertebra"]) == list(VERTEBRAE)
    table = summary_table(evaluate(segmenter, films(2), tmp_path, read=read_fake))
    assert "fake-1: 2 films" in table
    assert "L3      0.917  0.833 to 1.000  (n = 2)" in table
    assert "all levels right: 2 of 2 (95 % interval 0.34 to 1.00)" in table
    assert "numbering reliable: 2 right, 0 wrong" in table


def write_folder(folder: Path) -> None:
    (folder / "img").mkdir()
    (folder / "label").mkdir()
    for number in range(3):
        write_film(folder / "img" / f"F{number}.dcm", film(number))
    write_mat(folder / "label" / "F0.mat", spine())
    write_array(folder / "label" / "F1.npy", without_l1(spine()))
    (folder / "img" / "._F0.dcm").write_bytes(b"a Mac's note")
    (folder / "img" / "notes.txt").write_text("not a film")


def test_a_folder_on_disk(tmp_path: Path):
    write_folder(tmp_path)
    (tmp_path / "img" / "F9.dcm").write_bytes(bytes(128) + b"DICM, and nothing else")
    (tmp_path / "label" / "F9.mat").write_bytes(b"not a label")
    found = find_films(tmp_path)
    assert [files.name for files in found] == ["F0", "F1", "F2", "F9"]
    assert [files.label and files.label.name for files in found] == ["F0.mat", "F1.npy", None, "F9.mat"]
    assert labelled_films(tmp_path) == [files for files in found if files.label], "those that training sees"
    segmenter = FakeSegmenter({0: same, 1: without_l1})
    summary = evaluate(segmenter, found, tmp_path / "out")
    assert (summary.n, summary.dice.mean, summary.unlabelled) == (2, 1.0, ("F2",))
    assert list(summary.failed) == ["F9"]
    assert summary.failed["F9"].startswith("This DICOM file names no transfer syntax")


def test_a_case_needs_a_label(tmp_path: Path):
    with pytest.raises(BadInput, match="expected a label"):
        read_case(FilmFiles("D01", tmp_path / "D01.dcm", None))
