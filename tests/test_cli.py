"""The commands: what they write, what they print, and that nobody sees a traceback for a bad file."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import scipy.io
from dicom_files import write_index
from picture_files import png
from small import write_checkpoint

from spineseg.cli import COMMANDS, main
from spineseg.film import VERTEBRAE, Film
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.folder import read_findings
from spineseg.io.labels import KEY, read_label, to_array, write_array
from spineseg.measure.measurements import measure_prediction
from spineseg.model import hub
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.training import cross_validation, loop
from spineseg.training.config import TrainConfig

ROOT = Path(__file__).parents[1]
FILMS = [f"S002-0000{k}" for k in range(3)]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    write_checkpoint(path, UNetConfig(features=(6, 8, 8), prior=0.5), contrast=20, decoder="none")
    return path


def simulate(out: Path, sick: str = "0") -> int:
    size = ["--count", "3", "--seed", "2", "--rows", "128", "--processes", "1"]
    return main(["simulate", "--out", str(out), *size, "--sick", sick])


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films as the first command writes them."""
    folder = tmp_path_factory.mktemp("data") / "films"
    assert simulate(folder) == 0
    return folder


@pytest.fixture
def film(data: Path) -> Path:
    return data / "img" / f"{FILMS[0]}.dcm"


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "films"))


def test_help_imports_nothing_that_takes_time():
    """Of no command; `--help` and a mistyped flag are answered before torch is there."""
    code = f"""
import sys
from spineseg.cli import main
for command in {["", *COMMANDS]}:
    try:
        main([*command.split(), "--help"])
    except SystemExit as stopped:
        assert stopped.code == 0
heavy = {{"torch", "SimpleITK", "scipy", "h5py", "accelerate", "gradio", "cv2", "pydicom", "huggingface_hub"}}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(f"usage: spineseg {command}" in done.stdout for command in COMMANDS)


def test_app_has_the_options_of_the_program_and_hands_them_on(monkeypatch: pytest.MonkeyPatch, capsys: Captured):
    from spineseg.ui import launch

    options = []
    for run, given in ((main, ["app", "--help"]), (launch.main, ["--help"])):
        with pytest.raises(SystemExit):
            run(given)
        options.append(set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--no"})  # of --no-mcp
    assert options[0] == options[1]
    handed = []
    monkeypatch.setattr(launch, "main", handed.extend)
    given = ["--port", "0", "--mcp", "--collect", "films", "--collect-from-others"]
    assert main(["app", "--checkpoint", "a", "--checkpoint", "b", *given]) == 0
    switches = ["--mcp", "--collect-from-others"]
    assert handed == ["--checkpoint=a", "--checkpoint=b", "--port=0", "--collect=films", *switches]


def test_the_exit_status_reaches_the_shell(tmp_path: Path):
    given = ["predict", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "spineseg", *given], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr.startswith("spineseg: This folder holds no film: nothing is in it")
        and len(done.stderr.splitlines()) == 1
    )


def test_simulate_writes_the_same_bytes_again(data: Path, tmp_path: Path, capsys: Captured):
    assert sorted(p.name for p in data.rglob("*.*")) == sorted(f"{n}.{end}" for n in FILMS for end in ("dcm", "mat"))
    assert simulate(tmp_path / "again") == 0
    assert "3 films in" in capsys.readouterr().out
    for path in data.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(data)).read_bytes()


def test_simulate_writes_what_sick_spines_show(data: Path, tmp_path: Path, capsys: Captured):
    assert simulate(tmp_path / "sick", "1") == 0
    findings = [read_findings(tmp_path / "sick", name) for name in FILMS]
    assert all(findings) and not read_findings(data, FILMS[0])
    assert simulate(tmp_path / "none", "2") == 1
    assert "expected a share from 0 to 1 for --sick, got 2" in capsys.readouterr().err


def test_predict_reports_bad_files_and_goes_on(data: Path, checkpoint: Path, tmp_path: Path, capsys: Captured):
    """Good films under the names that archives use and in a folder, two of one name, a cut one, and what is no film."""
    folder, out = tmp_path / "mixed", tmp_path / "new" / "out"
    sources = {"1.2.840.1": FILMS[0], "121": FILMS[1], "122.DCM": FILMS[2], "a.dcm": FILMS[0], "a.ima": FILMS[1]}
    sources |= {"b/film A.B": FILMS[2], "c.dcm": FILMS[0]}
    (folder / "b").mkdir(parents=True)
    for name, source in sources.items():
        shutil.copy(data / "img" / f"{source}.dcm", folder / name)
    (folder / "c.dcm").write_bytes((folder / "c.dcm").read_bytes()[:3000])
    for name in ("d.dcm", "notes.txt", "._a.dcm"):
        (folder / name).write_text("not a film")
    given = ["predict", str(folder), "--out", str(out), "--checkpoint", str(checkpoint), "--overlay", "--measure"]
    assert main(given) == 1
    stems = {"1.2.840.1": "1.2.840.1", "121": "121", "122": "122.DCM", "a": "a.dcm", "a.ima": "a.ima"}
    stems |= {"b/film A.B": "b/film A.B"}
    written = [f"{stem}.{ending}" for stem in stems for ending in ("npy", "png", "json")]
    there = (p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert sorted(there) == sorted([*written, "films.csv", "measurements.csv", "answered-0.jsonl"])
    printed = capsys.readouterr()
    taken, bad, *other = sorted(printed.err.splitlines())
    assert taken == "a.ima: its results are named a.ima, as a.dcm has the same name without ending"
    assert bad.startswith("c.dcm: expected ")
    assert other == [f"{name}: left out: a file of another kind" for name in ("d.dcm", "notes.txt")]
    with (out / "films.csv").open(newline="") as stream:
        assert [row["film"] for row in csv.DictReader(stream) if not row["error"]] == list(stems)
    assert printed.out.endswith(f"6 of 7 films segmented into {out}, 2 files left out\n")
    with (out / "measurements.csv").open(newline="") as stream:
        rows = {row["film"]: row for row in csv.DictReader(stream)}
    assert list(rows) == list(stems)
    segmenter = Segmenter.load(checkpoint)
    for stem, name in stems.items():
        film = read_film(folder / name)
        prediction = segmenter(film)
        array = np.load(out / f"{stem}.npy", allow_pickle=False)
        assert array.shape == (*film.shape, 7) and array.dtype == np.uint8 and (array.sum(-1) == 1).all()
        assert np.array_equal(array, to_array(prediction.masks))
        assert f"{name}: {film.shape[0]} x {film.shape[1]}, " in printed.out
        picture = cv2.imread(str(out / f"{stem}.png"))
        assert picture is not None and picture.shape == (*film.shape, 3)
        assert (picture[..., 0] != picture[..., 2]).any(), "no colour"
        stored = json.loads((out / f"{stem}.json").read_text())
        expected = json.loads(json.dumps(measure_prediction(prediction, film.spacing).as_dict()))
        assert {key: stored[key] for key in expected} == expected
        assert stored["verdict"] == rows[stem]["verdict"] == prediction.levels.verdict
        assert set(stored["left_out"]) | set(stored["corners_row_column"]) == set(VERTEBRAE)


def test_predict_reads_an_archive_like_its_folder(data: Path, checkpoint: Path, tmp_path: Path, capsys: Captured):
    """An export tree: the same arrays under the same names from the folder, from its ZIP and from its DICOMDIR."""
    export = tmp_path / "export"
    for k, name in enumerate(("PA000001/ST000001/IM000001", "PA000001/ST000002/IM000001", "PA000002/IM000001")):
        (export / name).parent.mkdir(parents=True)
        shutil.copy(data / "img" / f"{FILMS[k]}.dcm", export / name)
    write_index(export / "DICOMDIR")
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", export)
    answers = []
    for k, given in enumerate((export, archive, export / "DICOMDIR")):
        out = tmp_path / f"out{k}"
        assert main(["predict", str(given), "--out", str(out), "--checkpoint", str(checkpoint)]) == 0
        answers.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*.npy")})
        printed = capsys.readouterr()
        assert printed.err == "DICOMDIR: left out: a DICOMDIR index\n"
        assert printed.out.endswith(f"3 of 3 films segmented into {out}, 1 files left out\n")
    assert answers[0] == answers[1] == answers[2] and len(set(answers[0].values())) == 3
    assert str(min(answers[0])) == "PA000001/ST000001/IM000001.npy"


def test_predict_can_invert(film: Path, checkpoint: Path, tmp_path: Path, capsys: Captured):
    write_film(tmp_path / "dark.dcm", read_film(film).inverted())
    common = ["--out", str(tmp_path), "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main(["predict", str(film), *common]) == 0
    assert main(["predict", str(tmp_path / "dark.dcm"), *common, "--invert"]) == 0
    assert np.array_equal(np.load(tmp_path / "dark.npy"), np.load(tmp_path / f"{film.stem}.npy"))
    assert capsys.readouterr().err == ""


def test_predict_marks_what_is_no_lateral_lumbar_film(tmp_path: Path, capsys: Captured):
    """With the published weights: an array, but nothing drawn, measured or written for an archive."""
    write_film(tmp_path / "noise.dcm", Film(np.random.default_rng(0).uniform(0, 4095, (300, 200)).astype(np.float32)))
    given = ["predict", str(tmp_path / "noise.dcm"), "--out", str(tmp_path), "--overlay", "--measure", "--dicom-seg"]
    assert main([*given, "--as-stored"]) == 0
    said = f"{NOT_LUMBAR}; no DICOM segmentation was written\n"
    assert said in capsys.readouterr().out
    assert np.load(tmp_path / "noise.npy").shape == (300, 200, 7)
    stored = json.loads((tmp_path / "noise.json").read_text())
    assert (stored["verdict"], stored["figures"]) == (NOT_LUMBAR, {})
    assert NOT_LUMBAR in (tmp_path / "measurements.csv").read_text()
    picture = cv2.imread(str(tmp_path / "noise.png"))
    assert picture is not None and (picture[..., 0] == picture[..., 2]).all(), "nothing is drawn"
    assert not (tmp_path / "noise.seg.dcm").exists()


def test_predict_writes_segmentation_objects(film: Path, checkpoint: Path, tmp_path: Path):
    given = ["predict", str(film), "--out", str(tmp_path), "--checkpoint", str(checkpoint), "--dicom-seg"]
    assert main(given) == 0
    content = (tmp_path / f"{film.stem}.seg.dcm").read_bytes()
    assert content[128:132] == b"DICM" and b"LUMBAR_VERTEBRAE" in content


def test_predict_replaces_its_own_results_alone(film: Path, checkpoint: Path, tmp_path: Path, capsys: Captured):
    films, out = tmp_path / "films", tmp_path / "out"
    for folder in (films, out):
        folder.mkdir()
    shutil.copy(film, films / "a.dcm")
    given = ["predict", str(films), "--out", str(out), "--checkpoint", str(checkpoint), "--measure", "--overlay"]
    assert main(given) == main(given) == 0, "results are replaced"
    for name in ("a.npy", "a.png", "a.json", "measurements.csv"):
        kept, foreign = (out / name).read_bytes(), b"a person's"
        (out / name).write_bytes(foreign)
        assert main(given) == 1
        assert f"{name} would be replaced by a result; name another folder" in capsys.readouterr().err
        assert (out / name).read_bytes() == foreign
        (out / name).write_bytes(kept)
    (out / "measurements.csv").unlink()
    shutil.copy(films / "a.dcm", films / "=1\x1b[31m.dcm")
    assert main(given) == 0
    table = (out / "measurements.csv").read_text()
    assert "\n'=1?[31m," in table and "\x1b" not in table


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_predict_does_not_take_results_of_other_weights_or_films_for_its_own(
    data: Path, film: Path, checkpoint: Path, tmp_path: Path, capsys: Captured
):
    """One folder of results, two checkpoints or two films of one name in turn: what is there is of the last run."""
    other, out, films = tmp_path / "other.safetensors", tmp_path / "out", tmp_path / "films"
    write_checkpoint(other, contrast=-20)
    films.mkdir()
    result, place = out / f"{film.stem}.npy", films / film.name

    def predicted(weights: Path, source: Path) -> bytes:
        shutil.copy2(source, place)
        assert main(["predict", str(films), "--out", str(out), "--checkpoint", str(weights)]) == 0
        return result.read_bytes()

    second = next(path for path in sorted((data / "img").iterdir()) if path.name != film.name)
    wanted = {pair: predicted(*pair) for pair in ((checkpoint, film), (other, film), (checkpoint, second))}
    assert len(set(wanted.values())) == 3
    for pair in (*wanted, *reversed(wanted)):
        assert predicted(*pair) == wanted[pair]
    capsys.readouterr()
    predicted(checkpoint, film)
    assert "1 of them earlier" in capsys.readouterr().out


def test_predict_starts_no_more_readers_than_read_at_once(
    film: Path, checkpoint: Path, tmp_path: Path, capsys: Captured
):
    given = ["predict", str(film), "--out", str(tmp_path / "out"), "--checkpoint", str(checkpoint), "--workers"]
    for count in ("0", "65", "1000000"):
        assert main([*given, count]) == 1
        assert f"expected 1 to 64 workers, got {count}; leave --workers out" in capsys.readouterr().err
    with patch("spineseg.io.isolation.start_ahead") as started:
        assert main([*given, "64"]) == 0
    started.assert_called_once_with(6)


def test_predict_takes_a_picture_as_the_film_itself(film: Path, checkpoint: Path, tmp_path: Path, capsys: Captured):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    (picture := folder / "a.png").write_bytes(png(read_film(film).image.astype(np.uint16), 16))
    given = ["--out", str(out), "--checkpoint", str(checkpoint), "--measure", "--overlay"]
    assert main(["predict", str(picture), str(film), *given]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "a PNG picture of 16 bits: values are as shown, not as measured; no pixel spacing" in printed[0]
    assert "picture" not in printed[1]
    np.testing.assert_array_equal(np.load(out / "a.npy"), np.load(out / f"{film.stem}.npy"))
    measured = [json.loads((out / f"{stem}.json").read_text()) for stem in ("a", film.stem)]
    assert len(measured[0]["remarks"]) == 2 and measured[1]["remarks"] == []
    assert measured[0]["millimetres"] is None
    assert not any(figure["unit"].startswith("mm") for figure in measured[0]["figures"].values())
    before = picture.read_bytes()
    assert main(["predict", str(picture), "--out", str(folder), "--checkpoint", str(checkpoint), "--overlay"]) == 1
    assert (
        "a.png would be replaced by a result; name another folder" in capsys.readouterr().err
        and picture.read_bytes() == before
    )
    assert main(["predict", str(out), "--out", str(tmp_path / "again"), "--checkpoint", str(checkpoint)]) == 1
    assert "2 pictures that spineseg drew" in capsys.readouterr().err


def test_predict_takes_every_name_that_a_file_can_have(film: Path, checkpoint: Path, tmp_path: Path, capsys: Captured):
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    for name in ("a\udcff.dcm", "b\x1b[31m\nc.dcm"):
        shutil.copy(film, folder / name)
    (folder / "d\x1b[2J\n.dcm").write_bytes(b"not a film")
    assert main(["predict", str(folder), "--out", str(out), "--checkpoint", str(checkpoint), "--measure"]) == 1
    printed = capsys.readouterr()
    assert [line.partition(":")[0] for line in printed.out.splitlines()[:2]] == ["a?.dcm", "b?[31m?c.dcm"]
    assert printed.err == "d?[2J?.dcm: left out: a file of another kind\n" and "\x1b" not in printed.out + printed.err
    assert {path.suffix for path in out.iterdir()} == {".npy", ".json", ".csv", ".jsonl"} and len(
        list(out.iterdir())
    ) == 7


def test_evaluate_writes_tables(data: Path, checkpoint: Path, tmp_path: Path, capsys: Captured):
    assert main(["evaluate", "--data", str(data), "--out", str(tmp_path), "--checkpoint", str(checkpoint)]) == 0
    assert "tiny: 3 films" in capsys.readouterr().out
    with (tmp_path / "dice.csv").open(newline="") as stream:
        assert [row["vertebra"] for row in csv.DictReader(stream)] == ["L1", "L2", "L3", "L4", "L5", "S1"] * 3
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["checkpoint"], summary["n"]) == ("tiny", 3)
    assert (tmp_path / "films.csv").exists()


def test_show_draws_a_label_or_a_network(data: Path, film: Path, checkpoint: Path, tmp_path: Path):
    label = data / "label" / f"{film.stem}.mat"
    assert main(["show", str(film), "--out", str(tmp_path / "label.png"), "--label", str(label)]) == 0
    assert main(["show", str(film), "--out", str(tmp_path / "net.png"), "--checkpoint", str(checkpoint)]) == 0
    pictures = [cv2.imread(str(tmp_path / name)) for name in ("label.png", "net.png")]
    assert all(picture is not None and picture.std() > 5 for picture in pictures)
    assert (tmp_path / "label.png").read_bytes() != (tmp_path / "net.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("predict {empty} --out {out} --checkpoint {good}", "This folder holds no film: nothing is in it; name"),
        ("predict {film} --out {out} --checkpoint {bad}", "expected a JSON card"),
        ("predict {film} --out {file} --checkpoint {good}", "expected a folder as --out, got the file"),
        ("predict {film} --out {out} --copy-patient", "expected --copy-patient together with --dicom-seg"),
        ("predict {film} --out {out} --invert --as-stored", "--invert and --as-stored exclude each other"),
        ("predict {film} --out {out} --facing left", "expected --facing together with --measure"),
        ("evaluate --data {empty} --out {out} --checkpoint {good}", "This folder has no img/ with films; name the"),
        ("show {bad} --out {out}/a.png", "bad.safetensors: This is another kind of file, not a film"),
        ("show {film} --label {bad} --out {out}/a.png", "bad.safetensors: this is another kind of file, not a label; "),
        ("show {film} --label {label} --out {empty}/none/a.png", "No such file or directory"),
        ("report {empty}", "expected a training run, found no config.json in the folder"),
        ("train --data {data} --out {out} --fold 2", "expected 2 folds or more and one"),
        ("train --data {data} --out {out} --from scratch --grid.rows 500", "expected a grid in multiples of 128"),
        ("train --data {data} --out {out} --from {bad}", "expected a JSON card"),
        ("train --data {data} --out {out} --resume", "expected a run to resume, found no finished epoch"),
        (
            "train --data {data} --out {out} --grid.rows 256",
            "The checkpoint spineseg has another grid (--grid.rows 256 ",
        ),
        ("train --config {empty}", "expected a training run, found no config.json"),
        (
            "train --data {data} --out {out} --architecture a:b",
            "The weights spineseg are of the architecture unet, not",
        ),
        (
            "train --data {data} --out {out} --from scratch --architecture none_such:net",
            "none_such:net is in no module that Python",
        ),
    ],
)
def test_bad_input_is_one_line(
    data: Path, film: Path, checkpoint: Path, tmp_path: Path, capsys: Captured, arguments: str, sentence: str
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of use")
    (tmp_path / "file").write_text("")
    places = {
        **{"film": film, "label": data / "label" / f"{film.stem}.mat", "data": data, "good": checkpoint},
        **{name: tmp_path / name for name in ("empty", "out", "file")},
        "bad": tmp_path / "bad.safetensors",
    }
    assert main([word.format(**places) for word in arguments.split()]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line and "reading films" not in line)
    assert line.startswith(f"spineseg: {sentence}")
    assert list((tmp_path / "out").glob("*")) == []


def trained_with(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> TrainConfig:
    """The configuration that the command line gives."""
    got: list[Any] = []
    monkeypatch.setattr(loop, "train", got.append)
    assert main(["train", "--data", "a", "--out", "b", *arguments]) == 0
    return got[0]


def test_train_takes_the_defaults_and_changes(monkeypatch: pytest.MonkeyPatch):
    assert trained_with(monkeypatch) == TrainConfig(Path("a"), Path("b"))
    changes = ["--grid.rows", "256", "--batch", "1", "--folds", "5", "--fold", "2", "--patients", "who.csv"]
    config = trained_with(monkeypatch, *changes)
    assert (config.grid.rows, config.grid.columns, config.batch) == (256, GridConfig().columns, 1)
    assert (config.folds, config.fold, config.patients) == (5, 2, Path("who.csv"))


def test_folds_are_trained_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    got: list[Any] = []
    monkeypatch.setattr(cross_validation, "cross_validate", got.append)
    monkeypatch.setattr(loop, "train", lambda _: pytest.fail("one training only"))
    assert main(["train", "--data", "a", "--out", "b", "--folds", "5", "--patients", "dicom"]) == 0
    assert (got[0].folds, got[0].fold, got[0].patients) == (5, 0, "dicom")


@pytest.mark.usefixtures("fresh_accelerator")
def test_another_network_is_trained_and_used(copied: Path, tmp_path: Path, capsys: Captured):
    """By its name, which every command must be given; resumed by no other."""
    run, out, named = tmp_path / "run", tmp_path / "out", ["--architecture", "my_networks:quarter"]
    film, best = str(copied / "img" / f"{FILMS[0]}.dcm"), str(run / "best.safetensors")
    train = ["train", "--data", str(copied), "--out", str(run), "--grid.rows", "128", "--grid.columns", "128"]
    train += ["--epochs", "1", "--batch", "2", "--validation", "0.3", "--workers", "0", "--precision", "no"]
    scratch = ["--from", "scratch"]
    assert main([*train, *scratch, *named]) == 0
    assert "data:image/jpeg" in (page := run / "report.html").read_text()
    assert json.loads((run / "config.json").read_text())["network"]["patch"] == 4
    uses = [
        ["predict", film, "--out", str(out), "--checkpoint", best],
        ["evaluate", "--data", str(copied), "--out", str(out), "--checkpoint", best],
        ["show", film, "--out", str(tmp_path / "a.png"), "--checkpoint", best],
        ["push", best, "ann/spine", "--dry-run"],
        [*train[:3], "--out", str(tmp_path / "next"), *train[5:], "--from", best],
    ]
    for command in uses:
        capsys.readouterr()
        assert main(command) == 1
        assert "network is my_networks:quarter, not unet; give --architecture my_net" in capsys.readouterr().err
    for command in uses:
        assert main([*command, *named]) == 0
    assert np.load(out / f"{FILMS[0]}.npy").shape == (*read_film(Path(film)).shape, 7)
    assert main(["report", str(run)]) == 0 and "data:image/jpeg" not in page.read_text()
    assert main(["report", str(run), *named]) == 0 and "data:image/jpeg" in page.read_text()
    assert main([*train, *scratch, "--resume"]) == 1
    assert "expected the settings of the run to resume, got another architecture" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["check", "{}"], ["train", "--data", "{}", "--out", "{}/run", "--dry-run"]])
def test_a_folder_is_checked(copied: Path, capsys: Captured, command: list[str]):
    given = [word.format(copied) for word in command]
    assert main(given) == 0
    assert "3 films, 3 with a label: 0 errors, 0 warnings\n" in capsys.readouterr().out
    for part, ending in (("img", "dcm"), ("label", "mat")):
        shutil.copy(copied / part / f"{FILMS[0]}.{ending}", copied / part / f"{FILMS[1]}.{ending}")
    assert main(given) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"error: {FILMS[1]}: expected a film of its own, got the pixels of {FILMS[0]}")
    assert lines[-1] == "3 films, 3 with a label: 1 error, 0 warnings"
    assert not (copied / "run").exists()


def test_a_submission_is_checked(data: Path, tmp_path: Path, capsys: Captured):
    """Arrays of the true masks, as predict writes them, for films named as the challenge has them."""
    test, out = tmp_path / "test", tmp_path / "out"
    test.mkdir()
    out.mkdir()
    for stem, name in zip(FILMS, ("121", "122.dcm", "123.DCM"), strict=True):
        shutil.copy(data / "img" / f"{stem}.dcm", test / name)
        label = read_label(data / "label" / f"{stem}.mat", read_film(test / name).shape)
        write_array(out / f"{name[:3]}.npy", label.masks)
    assert main(["check-submission", str(out), str(test), "--json", str(tmp_path / "found.json")]) == 0
    assert capsys.readouterr().out == "a valid submission: 3 films, 3 arrays, 0 errors, 0 warnings\n"
    assert json.loads((tmp_path / "found.json").read_text())["valid"] is True
    (out / "122.npy").unlink()
    assert main(["check-submission", str(out), str(test)]) == 1
    assert capsys.readouterr().out.startswith("error: 122.npy: expected the array of 122.dcm, found none")


def test_a_film_that_may_be_lost_stops_train_and_evaluate_and_other_files_do_not(
    copied: Path, tmp_path: Path, capsys: Captured
):
    (copied / "img" / "empty").touch()
    (copied / "label" / "readme.txt").write_text("by two readers")
    lines = ["error: img/empty: left out: an empty file"]
    lines += ["warning: label/readme.txt: left out: a file without a label’s ending"]
    assert main(["check", str(copied)]) == 1
    assert capsys.readouterr().out.splitlines()[:2] == lines
    for command in ("train", "evaluate"):
        assert main([command, "--data", str(copied), "--out", str(tmp_path / "out")]) == 1
        *_, error, summary = capsys.readouterr().err.splitlines()
        assert error == lines[0]
        assert summary.startswith("spineseg: 1 error in the folder; correct what is wrong, or move this file out of it")
        assert summary.endswith("the command check does that too") == (command == "train")
    assert not (tmp_path / "out").exists()
    (copied / "img" / "empty").unlink()
    assert main(["check", str(copied)]) == 0
    assert lines[1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda array: np.roll(array, 1, axis=2), "the first channel is the background; save it as the last"),
        (
            lambda array: array * np.array([0] * 6 + [1], np.uint8),
            "expected vertebrae, got none; mark them or leave the film out",
        ),
    ],
)
def test_what_check_calls_an_error_stops_train_and_evaluate_in_the_same_words(
    copied: Path, tmp_path: Path, capsys: Captured, change: Any, words: str
):
    for path in (copied / "label").glob("*.mat"):
        write = path.with_suffix(".npy")
        np.save(write, change(scipy.io.loadmat(path)[KEY]))
        path.unlink()
    assert main(["check", str(copied)]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("error: "))
    assert line.startswith("error: 3 films (") and words in line
    for command in ("train", "evaluate"):
        assert main([command, "--data", str(copied), "--out", str(tmp_path / "out")]) == 1
        errors = capsys.readouterr().err.splitlines()
        assert line in errors
        assert errors[-1] == (
            "spineseg: 3 errors in the folder; correct what is wrong, or move these 3 films out of it"
        )
        assert not (tmp_path / "out").exists() and not list((copied / ".cache").glob("*"))


def test_convert_writes_a_folder_that_passes_the_check(data: Path, tmp_path: Path, capsys: Captured):
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
    errors = capsys.readouterr().err
    assert f"{FILMS[0]}: expected numbers that --values explains, got also" in errors
    assert "spineseg: expected all of 3 pairs to convert, 3 do not" in errors
    assert not (tmp_path / "out").exists()
    values = [f"{name}={number}" for number, name in enumerate(VERTEBRAE, 20)]
    assert main(["convert", *given, "--values", *values]) == 0
    assert main(["check", str(tmp_path / "out")]) == 0
    for path in sorted((data / "img").iterdir()):
        assert np.array_equal(read_film(tmp_path / "out" / "img" / path.name).image, read_film(path).image)


def test_every_command_takes_a_checkpoint_of_the_hub(
    data: Path, film: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """hf://ann/spine@v1 in a cache as huggingface_hub lays it out."""
    snapshot = tmp_path / "models--ann--spine" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for ending in ("safetensors", "json"):
        shutil.copy(checkpoint.with_suffix(f".{ending}"), snapshot / f"model.{ending}")

    def fetch(repository: str, name: str, *, revision: str) -> str:
        assert (repository, revision in ("v1", "a" * 40)) == ("ann/spine", True)
        return str(snapshot / name)

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    address, out = "hf://ann/spine@v1", tmp_path / "out"
    assert main(["predict", str(film), "--out", str(out), "--checkpoint", address]) == 0
    assert main(["show", str(film), "--out", str(out / "show.png"), "--checkpoint", address]) == 0
    assert main(["evaluate", "--data", str(data), "--out", str(out), "--checkpoint", address]) == 0
    assert json.loads((out / "summary.json").read_text())["checkpoint"] == f"tiny (hf://ann/spine@{'a' * 40})"
    assert trained_with(monkeypatch, "--from", address).start == snapshot / "model.safetensors"


def test_a_push_can_be_seen_first(checkpoint: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "push", lambda *_, **__: pytest.fail("pushed"))
    assert main(["push", str(checkpoint), "ann/spine", "--dry-run", "--licence", "apache-2.0"]) == 0
    out = capsys.readouterr().out
    assert f"{checkpoint.stat().st_size:,} bytes  model.safetensors" in out
    assert "license: apache-2.0" in out and "nothing was sent to ann/spine" in out
