"""The commands: what they write, what they print, and that nobody sees a traceback for a bad file."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from spineseg import cli as commands
from spineseg.cli import main
from spineseg.evaluation.submission import films_named
from spineseg.film import VERTEBRAE
from spineseg.inference.segmenter import Segmenter
from spineseg.io.dicom import read_film
from spineseg.io.dicom_write import write_film
from spineseg.io.labels import read_label, to_array, write_array
from spineseg.measure.measurements import measure_prediction
from spineseg.model import hub
from spineseg.model.card import Card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.unet import UNet
from spineseg.training.config import TrainConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    config = UNetConfig(features=(6, 8, 8), prior=0.5)
    network = UNet(config)
    with torch.no_grad():
        network.head.weight.mul_(20)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, network, Card("tiny", GridConfig(rows=64, columns=48), config, decoder="none"))
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films as the first command writes them."""
    folder = tmp_path_factory.mktemp("data") / "films"
    given = ["--out", str(folder), "--count", "3", "--seed", "2", "--rows", "128", "--processes", "1"]
    assert main(["simulate", *given]) == 0
    return folder


@pytest.fixture
def mixed(data: Path, tmp_path: Path) -> Path:
    """A good film, a bad file, a good film whose name is taken, one without an ending, and what is no film."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = [path.read_bytes() for path in sorted((data / "img").iterdir())]
    (folder / "a.dcm").write_bytes(good[0])
    (folder / "a.ima").write_bytes(good[1])
    (folder / "b.dcm").write_bytes(b"not a film")
    (folder / "c").write_bytes(good[2])
    (folder / "notes.txt").write_text("no film")
    (folder / ".hidden.dcm").write_text("no film")
    return folder


def test_simulate_says_what_it_wrote(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert sorted(p.name for p in (data / "img").iterdir()) == [f"S002-0000{k}.dcm" for k in range(3)]
    assert sorted(p.name for p in (data / "label").iterdir()) == [f"S002-0000{k}.mat" for k in range(3)]
    given = ["--out", str(tmp_path / "again"), "--count", "3", "--seed", "2", "--rows", "128", "--processes", "1"]
    assert main(["simulate", *given]) == 0
    assert "3 films in" in capsys.readouterr().out
    for path in data.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(data)).read_bytes()


def test_predict_reports_bad_files_and_goes_on(
    mixed: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "new" / "out"
    assert main(["predict", str(mixed), "--out", str(out), "--checkpoint", str(checkpoint)]) == 1
    assert sorted(p.name for p in out.iterdir()) == ["a.npy", "c.npy"]
    said = capsys.readouterr()
    errors = said.err.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith("a.ima: expected a name that no other film of this run has")
    assert errors[1].startswith("b.dcm: expected a DICOM file")
    assert "2 of 4 films segmented" in said.out
    segmenter = Segmenter.load(checkpoint)
    for name, source in (("a", "a.dcm"), ("c", "c")):
        film = read_film(mixed / source)
        array = np.load(out / f"{name}.npy", allow_pickle=False)
        assert array.shape == (*film.shape, 7) and array.dtype == np.uint8
        assert (array.sum(-1) == 1).all()
        assert np.array_equal(array, to_array(segmenter(film).masks))
        assert f"{source}: {film.shape[0]} x {film.shape[1]}, " in said.out


def test_predict_all_well(data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    film = data / "img" / "S002-00001.dcm"
    given = ["predict", str(film), "--out", str(tmp_path), "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main([*given, "--overlay"]) == 0
    assert capsys.readouterr().err == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["S002-00001.npy", "S002-00001.png"]
    picture = cv2.imread(str(tmp_path / "S002-00001.png"))
    assert picture is not None and picture.shape == (*read_film(film).shape, 3)
    assert (picture[..., 0] != picture[..., 2]).any()


def test_predict_can_invert(data: Path, checkpoint: Path, tmp_path: Path):
    film = read_film(data / "img" / "S002-00000.dcm")
    write_film(tmp_path / "dark.dcm", film.inverted())
    common = ["--out", str(tmp_path), "--checkpoint", str(checkpoint)]
    assert main(["predict", str(data / "img" / "S002-00000.dcm"), *common]) == 0
    assert main(["predict", str(tmp_path / "dark.dcm"), *common, "--invert"]) == 0
    assert np.array_equal(np.load(tmp_path / "dark.npy"), np.load(tmp_path / "S002-00000.npy"))


def test_predict_measures_every_film(data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = ["predict", str(data / "img"), "--out", str(tmp_path), "--checkpoint", str(checkpoint), "--measure"]
    assert main(given) == 0
    with (tmp_path / "measurements.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["film"] for row in rows] == [f"S002-0000{k}" for k in range(3)]
    segmenter = Segmenter.load(checkpoint)
    for row in rows:
        film = read_film(data / "img" / f"{row['film']}.dcm")
        prediction = segmenter(film)
        told = json.loads((tmp_path / f"{row['film']}.json").read_text())
        expected = json.loads(json.dumps(measure_prediction(prediction, film.spacing).as_dict()))
        assert {key: told[key] for key in expected} == expected
        assert told["verdict"] == row["verdict"] == prediction.levels.verdict
        assert set(told["left_out"]) | set(told["corners_row_column"]) == set(VERTEBRAE)


def test_predict_writes_segmentation_objects(data: Path, checkpoint: Path, tmp_path: Path):
    pytest.importorskip("highdicom", reason="needs the extra dicom-seg: pip install highdicom")
    film = data / "img" / "S002-00000.dcm"
    given = ["predict", str(film), "--out", str(tmp_path), "--checkpoint", str(checkpoint), "--dicom-seg"]
    assert main(given) == 0
    content = (tmp_path / "S002-00000.seg.dcm").read_bytes()
    assert content[128:132] == b"DICM" and b"LUMBAR_VERTEBRAE" in content


def test_copy_patient_alone_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(data / "img"), "--out", str(tmp_path / "out"), "--copy-patient"]) != 0
    assert "together with --dicom-seg" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_predict_takes_every_name_that_a_file_can_have(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    film = (data / "img" / "S002-00000.dcm").read_bytes()
    for name in ("a\udcff.dcm", "b\x1b[31m\nc.dcm"):
        (folder / name).write_bytes(film)
    (folder / "d\x1b[2J\n.dcm").write_bytes(b"not a film")
    given = ["predict", str(folder), "--out", str(out), "--checkpoint", str(checkpoint), "--measure"]
    assert main(given) == 1
    said = capsys.readouterr()
    assert [line.partition(":")[0] for line in said.out.splitlines()[:2]] == ["a?.dcm", "b?[31m?c.dcm"]
    assert said.err.startswith("d?[2J?.dcm: expected a DICOM file") and "\x1b" not in said.out + said.err
    assert {path.suffix for path in out.iterdir()} == {".npy", ".json", ".csv"} and len(list(out.iterdir())) == 5


def test_films_named(mixed: Path):
    assert [p.name for p in films_named([mixed])] == ["a.dcm", "a.ima", "b.dcm", "c"]
    assert list(films_named([mixed / "notes.txt", mixed / "none"])) == [mixed / "notes.txt", mixed / "none"]


def test_evaluate_writes_tables(data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "--data", str(data), "--out", str(tmp_path), "--checkpoint", str(checkpoint)]) == 0
    assert "tiny: 3 films" in capsys.readouterr().out
    with (tmp_path / "dice.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["vertebra"] for row in rows] == ["L1", "L2", "L3", "L4", "L5", "S1"] * 3
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["checkpoint"], summary["n"]) == ("tiny", 3)
    assert (tmp_path / "films.csv").exists()


def test_show_draws_a_label_or_a_network(data: Path, checkpoint: Path, tmp_path: Path):
    film, label = data / "img" / "S002-00000.dcm", data / "label" / "S002-00000.mat"
    assert main(["show", str(film), "--out", str(tmp_path / "label.png"), "--label", str(label)]) == 0
    assert main(["show", str(film), "--out", str(tmp_path / "net.png"), "--checkpoint", str(checkpoint)]) == 0
    pictures = [cv2.imread(str(tmp_path / name)) for name in ("label.png", "net.png")]
    assert all(picture is not None and picture.std() > 5 for picture in pictures)
    assert (tmp_path / "label.png").read_bytes() != (tmp_path / "net.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("predict {empty} --out {out} --checkpoint {good}", "spineseg: expected DICOM files, found none"),
        ("predict {film} --out {out} --checkpoint {bad}", "spineseg: expected a JSON card"),
        ("predict {film} --out {out} --checkpoint {good} --device cuda:99", "spineseg: expected a device"),
        ("predict {film} --out {file} --checkpoint {good}", "spineseg: File exists"),
        ("evaluate --data {empty} --out {out} --checkpoint {good}", r"spineseg: expected films as img/*.dcm"),
        ("show {bad} --out {out}/a.png", "spineseg: bad.safetensors: expected a DICOM file"),
        ("show {film} --label {bad} --out {out}/a.png", "spineseg: bad.safetensors: expected a MATLAB file"),
        ("show {film} --label {label} --out {empty}/none/a.png", "spineseg: No such file or directory"),
        ("train --data {empty} --out {out}", r"spineseg: expected films as img/*.dcm"),
        ("report {empty}", "spineseg: expected a training run, found no config.json in the folder"),
        ("train --data {data} --out {out} --fold 2", "spineseg: expected 2 folds or more and one"),
        ("train --data {data} --out {out} --patients {empty}/a.csv", "spineseg: expected a CSV file with the columns"),
        ("train --data {data} --out {out} --grid.rows 500", "spineseg: expected a grid in multiples of 128"),
        ("train --data {data} --out {out} --resume --init {bad}", "spineseg: expected a JSON card"),
    ],
)
def test_bad_input_is_one_line(
    data: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    sentence: str,
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of use")
    (tmp_path / "file").write_text("")
    places = {
        "film": data / "img" / "S002-00000.dcm",
        "label": data / "label" / "S002-00000.mat",
        "data": data,
        "good": checkpoint,
        "bad": tmp_path / "bad.safetensors",
        **{name: tmp_path / name for name in ("empty", "out", "file")},
    }
    assert main([word.format(**places) for word in arguments.split()]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line and "reading films" not in line]
    assert len(errors) == 1
    assert errors[0].startswith(sentence)


def trained_with(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> TrainConfig:
    """The configuration that the command line gives."""
    got: list[Any] = []
    monkeypatch.setattr(commands, "train", got.append)
    assert main(["train", "--data", "a", "--out", "b", *arguments]) == 0
    return got[0]


def test_train_takes_the_defaults(monkeypatch: pytest.MonkeyPatch):
    assert trained_with(monkeypatch) == TrainConfig(Path("a"), Path("b"))


def test_every_setting_may_be_given(monkeypatch: pytest.MonkeyPatch):
    config = trained_with(monkeypatch, "--grid.rows", "768", "--network.features", "8", "16", "--batch", "1")
    assert (config.grid.rows, config.network.features, config.batch) == (768, (8, 16), 1)


def test_folds_are_trained_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    got: list[Any] = []
    monkeypatch.setattr(commands, "cross_validate", got.append)
    monkeypatch.setattr(commands, "train", lambda _: pytest.fail("one training only"))
    assert main(["train", "--data", "a", "--out", "b", "--folds", "5", "--patients", "dicom"]) == 0
    assert (got[0].folds, got[0].fold, got[0].patients) == (5, 0, "dicom")


def test_one_fold_alone_and_patients_from_a_table(monkeypatch: pytest.MonkeyPatch):
    config = trained_with(monkeypatch, "--folds", "5", "--fold", "2", "--patients", "who.csv")
    assert (config.folds, config.fold, config.patients) == (5, 2, Path("who.csv"))


@pytest.mark.parametrize("arguments", [["--loss", "mse"], ["--loss"], ["--nonsense"]])
def test_a_wrong_argument_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--data", "a", "--out", "b", *arguments])
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_exit_status_reaches_the_shell(mixed: Path, checkpoint: Path, tmp_path: Path):
    given = ["predict", str(mixed), "--out", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    done = subprocess.run(
        [sys.executable, "-m", "spineseg", *given], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.npy", "c.npy"]


def test_a_film_may_be_named_by_its_unique_identifier(data: Path, checkpoint: Path, tmp_path: Path):
    """Archives export films as 1.2.840.1 and 1.2.840.2, whose last number is no ending."""
    folder, out = tmp_path / "export", tmp_path / "out"
    folder.mkdir()
    for name in ("1.2.840.1", "1.2.840.2"):
        (folder / name).write_bytes((data / "img" / "S002-00000.dcm").read_bytes())
    assert main(["predict", str(folder), "--out", str(out), "--checkpoint", str(checkpoint)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["1.2.840.1.npy", "1.2.840.2.npy"]


# Before training, and after prediction


@pytest.mark.parametrize("command", [["check", "{}"], ["train", "--data", "{}", "--out", "{}/run", "--dry-run"]])
def test_a_folder_is_checked(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]):
    folder = Path(shutil.copytree(data, tmp_path / "films"))
    assert main([word.format(folder) for word in command]) == 0
    assert capsys.readouterr().out.endswith("3 films, 3 with a label: 0 errors, 0 warnings\n")
    (folder / "img" / "S002-00001.dcm").write_bytes((folder / "img" / "S002-00000.dcm").read_bytes())
    (folder / "label" / "S002-00001.mat").write_bytes((folder / "label" / "S002-00000.mat").read_bytes())
    assert main([word.format(folder) for word in command]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("error: S002-00001: expected a film of its own, got the pixels of S002-00000")
    assert lines[-1] == "3 films, 3 with a label: 1 errors, 0 warnings"
    assert not (folder / "run").exists()


def test_findings_as_json(data: Path, tmp_path: Path):
    folder = Path(shutil.copytree(data, tmp_path / "films"))
    (folder / "label" / "S002-00001.mat").unlink()
    assert main(["check", str(folder), "--json", str(tmp_path / "found.json")]) == 0
    stored = json.loads((tmp_path / "found.json").read_text())
    assert (stored["films"], stored["pairs"], stored["warnings"]) == (3, 2, 1)
    assert stored["findings"][0]["film"] == "S002-00001"


def test_a_hand_in_is_predicted_and_checked(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Arrays of the true masks, as predict writes them, for films named as the challenge has them."""
    test, out = tmp_path / "test", tmp_path / "out"
    test.mkdir()
    out.mkdir()
    for film, name in zip(sorted((data / "img").iterdir()), ("121", "122.dcm", "123.DCM"), strict=True):
        (test / name).write_bytes(film.read_bytes())
        label = read_label(data / "label" / f"{film.stem}.mat", read_film(film).shape)
        write_array(out / f"{name[:3]}.npy", label.masks)
    assert main(["check-handin", str(out), str(test), "--json", str(tmp_path / "found.json")]) == 0
    assert capsys.readouterr().out == "a valid hand-in: 3 films, 3 arrays, 0 errors, 0 warnings\n"
    assert json.loads((tmp_path / "found.json").read_text())["valid"] is True
    (out / "122.npy").unlink()
    assert main(["check-handin", str(out), str(test)]) == 1
    assert capsys.readouterr().out.startswith("error: 122.npy: expected the array of 122.dcm, found none")


def test_predict_names_a_hand_in_s_arrays_by_their_films(data: Path, checkpoint: Path, tmp_path: Path):
    test, out = tmp_path / "test", tmp_path / "out"
    test.mkdir()
    for film, name in zip(sorted((data / "img").iterdir()), ("121", "122.dcm", "123.DCM"), strict=True):
        (test / name).write_bytes(film.read_bytes())
    (test / "DICOMDIR").touch()
    assert main(["predict", str(test), "--out", str(out), "--checkpoint", str(checkpoint)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["121.npy", "122.npy", "123.npy"]
    for name in ("121", "122.dcm", "123.DCM"):
        assert np.load(out / f"{name[:3]}.npy").shape == (*read_film(test / name).shape, 7)


def test_convert_writes_a_folder_that_passes_the_check(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    films, labels = tmp_path / "png", tmp_path / "maps"
    for folder in (films, labels):
        folder.mkdir()
    for path in sorted((data / "img").iterdir()):
        film = read_film(path)
        masks = read_label(data / "label" / f"{path.stem}.mat", film.shape).masks
        cv2.imwrite(str(films / f"{path.stem}_0000.png"), film.image.astype(np.uint16))
        numbers = np.arange(20, 26, dtype=np.uint8)[:, None, None]
        cv2.imwrite(str(labels / f"{path.stem}.png"), (numbers * masks).max(axis=0))
    given = ["--films", str(films), "--labels", str(labels), "--out", str(tmp_path / "out"), "--film-suffix", "_0000"]
    assert main(["convert", *given]) == 1
    said = capsys.readouterr().err
    assert "S002-00000: expected numbers that --values explains, got also" in said
    assert "spineseg: expected all of 3 pairs to convert, 3 do not" in said
    assert not (tmp_path / "out").exists()
    values = [f"{name}={20 + k}" for k, name in enumerate(("L1", "L2", "L3", "L4", "L5", "S1"))]
    assert main(["convert", *given, "--values", *values]) == 0
    assert main(["check", str(tmp_path / "out")]) == 0
    for path in sorted((data / "img").iterdir()):
        assert np.array_equal(read_film(tmp_path / "out" / "img" / path.name).image, read_film(path).image)


# The Hub


@pytest.fixture
def on_hub(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """hf://ann/spine@v1 in a cache as huggingface_hub lays it out."""
    snapshot = tmp_path / "models--ann--spine" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for source, name in ((checkpoint, "model.safetensors"), (checkpoint.with_suffix(".json"), "model.json")):
        shutil.copy(source, snapshot / name)

    def fetch(repository: str, name: str, *, revision: str) -> str:
        assert (repository, revision in ("v1", "a" * 40)) == ("ann/spine", True)
        return str(snapshot / name)

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    return snapshot / "model.safetensors"


def test_every_command_takes_a_checkpoint_of_the_hub(
    on_hub: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    address, out, film = "hf://ann/spine@v1", tmp_path / "out", data / "img" / "S002-00000.dcm"
    assert main(["predict", str(film), "--out", str(out), "--checkpoint", address]) == 0
    assert main(["show", str(film), "--out", str(out / "show.png"), "--checkpoint", address]) == 0
    assert main(["evaluate", "--data", str(data), "--out", str(out), "--checkpoint", address]) == 0
    assert json.loads((out / "summary.json").read_text())["checkpoint"] == f"tiny (hf://ann/spine@{'a' * 40})"
    assert trained_with(monkeypatch, "--init", address).init == on_hub


def test_a_push_can_be_seen_first(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(commands, "push", lambda *_, **__: pytest.fail("pushed"))
    assert main(["push", str(checkpoint), "ann/spine", "--dry-run", "--licence", "apache-2.0"]) == 0
    out = capsys.readouterr().out
    assert f"{checkpoint.stat().st_size:,} bytes  model.safetensors" in out
    assert "license: apache-2.0" in out and "nothing was sent to ann/spine" in out
