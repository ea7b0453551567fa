"""check: each fault that ruins a training is found and named, and right folders are left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from label_files import every_label
from small import rectangles

from spineseg.data.check import FolderReport, check_before_use, check_folder
from spineseg.data.check_masks import mask_findings
from spineseg.data.findings import FaultyFolder, Finding
from spineseg.film import Case, Film, Masks
from spineseg.io.dicom_write import write_film
from spineseg.io.folder import NoFilms, read_folder, write_case
from spineseg.io.label_formats import LABEL_SUFFIXES
from spineseg.io.labels import KEY, read_label, to_array, write_array
from spineseg.io.pictures import write_png
from spineseg.render import label_picture
from spineseg.simulate import SimulateConfig, simulate_case

SHAPE = (200, 200)


def bodies(top: int = 20) -> Masks:
    return rectangles(SHAPE, top, 26, 16, 80, 30, slant=2)


def noise(seed: int, shape: tuple[int, int] = SHAPE) -> Film:
    """A picture like no other."""
    return Film(np.random.default_rng(seed).integers(0, 4096, shape).astype(np.float32))


def folder_of(tmp_path: Path, *masks: Masks) -> Path:
    for k, each in enumerate(masks):
        write_case(tmp_path, Case(str(k), noise(k), each))
    return tmp_path


def kinds(masks: Masks) -> list[tuple[str, str]]:
    return [(finding.severity, finding.kind) for finding in mask_findings("x", masks)]


def said(report: FolderReport) -> list[tuple[str, str, str]]:
    return [(finding.film, finding.severity, finding.kind) for finding in report.findings]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    assert "\n" not in findings[0].sentence and findings[0].sentence.startswith("expected ")
    return findings[0]


def test_right_masks_pass():
    assert mask_findings("x", bodies()) == []
    assert mask_findings("x", np.ascontiguousarray(bodies()[:, :, ::-1])) == []  # facing the other way


@pytest.mark.parametrize("index", range(3))
def test_a_film_whose_bone_is_dark_is_told(tmp_path: Path, index: int):
    case = simulate_case(7, index, SimulateConfig(rows=384))
    write_case(tmp_path / "bright", case)
    assert check_folder(tmp_path / "bright").findings == ()
    top = case.film.image.max()
    write_case(tmp_path / "dark", replace(case, film=replace(case.film, image=top - case.film.image)))
    finding = only(list(check_folder(tmp_path / "dark").findings))
    assert (finding.severity, finding.kind) == ("warning", "dark bone")


def test_real_films_have_no_error(shared: Path):
    report = check_folder(shared / "films", threads=2)
    assert (report.films, report.pairs, report.errors) == (16, 11, 0)
    assert sorted({f.kind for f in report.findings}) == ["no label", "overlap"]


@pytest.mark.parametrize("gone", [(0,), (5,), (0, 1), (4, 5)])
def test_a_film_cut_short_passes(gone: tuple[int, ...]):
    masks = bodies(top=20)
    rows = slice(20 + 26 * (gone[-1] + 1) - 6, None) if gone[0] == 0 else slice(0, 20 + 26 * gone[0] - 6)
    masks[list(gone)] = False
    assert mask_findings("x", np.ascontiguousarray(masks[:, rows])) == []


def test_a_body_that_the_border_cuts_may_be_small():
    masks = np.ascontiguousarray(bodies(top=20)[:, : 20 + 26 * 5 + 3])
    assert masks[5].sum() < 0.4 * masks[4].sum()
    assert mask_findings("x", masks) == []


@pytest.mark.parametrize(
    ("order", "kind", "words"),
    [
        ([0, 2, 1, 3, 4, 5], "exchanged", "L2 and L3 exchanged"),
        ([5, 1, 2, 3, 4, 0], "exchanged", "L1 and S1 exchanged"),
        ([0, 1, 2, 3, 5, 4], "exchanged", "L5 and S1 exchanged"),
        ([1, 2, 0, 3, 4, 5], "order", "expected L1 to S1 down the film, got L3 L1 L2 L4 L5 S1"),
        ([5, 4, 3, 2, 1, 0], "upside down", "got them going up"),
    ],
)
def test_another_order_is_told(order: list[int], kind: str, words: str):
    finding = only(mask_findings("x", bodies()[order]))
    assert (finding.severity, finding.kind) == ("error", kind) and words in finding.sentence


def slipped(percent: float, slope_deg: float = 50.0) -> Masks:
    """L5 moved forward along the steep endplate of S1, which it touches at 0 %: the others follow it."""
    masks, slope = np.zeros((6, 400, 300), dtype=np.bool_), np.radians(slope_deg)
    along = np.array([np.sin(slope), -np.cos(slope)])  # forward (left) and down
    sacrum = np.array([300.0, 200.0])
    fifth = sacrum + 40 * np.array([-np.cos(slope), -np.sin(slope)]) + percent / 100 * 45 * along
    for k in range(6):
        row, column = sacrum if k == 5 else fifth - [40 * (4 - k), -10 * (4 - k)]
        masks[k, int(row) - 14 : int(row) + 14, int(column) - 20 : int(column) + 20] = True
    return masks


@pytest.mark.parametrize("percent", [0, 30, 60])
def test_a_slip_is_in_order(percent: float):
    assert {kind for _, kind in kinds(slipped(percent))} <= {"overlap"}


@pytest.mark.parametrize("percent", [120, 150])
def test_l5_below_s1_may_be_a_slip(percent: float):
    """Spondyloptosis: L5 is still the neighbour of L4 and of S1."""
    findings = mask_findings("x", slipped(percent))
    assert {finding.kind for finding in findings} <= {"slip", "gap"}
    finding = findings[0]
    assert (finding.severity, finding.kind) == ("warning", "slip")
    assert "got L1 L2 L3 L4 S1 L5, each next to its neighbour; a slip of high grade, or wrong names" in finding.sentence


def test_names_that_are_exchanged_on_a_curved_spine_are_no_slip():
    """Exchanged, L5 is two steps from L4."""
    for masks in (slipped(0)[[0, 1, 2, 3, 5, 4]], slipped(60)[[0, 1, 2, 3, 5, 4]]):
        assert ("error", "exchanged") in kinds(masks)
    assert ("error", "upside down") in kinds(slipped(120)[::-1])


def test_a_film_that_was_turned():
    assert kinds(np.ascontiguousarray(bodies()[:, ::-1])) == [("error", "upside down")]
    assert kinds(np.ascontiguousarray(bodies().transpose(0, 2, 1))) == [("error", "across")]


@pytest.mark.parametrize("degrees", [-35, 35])
def test_a_tilted_spine_is_in_order(degrees: float):
    masks = np.zeros((6, 400, 400), dtype=np.bool_)
    for k in range(6):
        row, column = 80 + 40 * k, int(200 + 40 * (k - 2.5) * np.tan(np.radians(degrees)))
        masks[k, row : row + 25, column : column + 40] = True
    assert mask_findings("x", masks) == []


@pytest.mark.parametrize(("degrees", "found"), [(50, []), (57, [("warning", "leaning")]), (65, [("error", "across")])])
def test_a_spine_that_leans_far(degrees: float, found: list[tuple[str, str]]):
    masks, angle = np.zeros((6, 400, 400), dtype=np.bool_), np.radians(degrees)
    for k in range(6):
        row, column = (int(200 + 50 * (k - 2.5) * part) for part in (np.cos(angle), np.sin(angle)))
        masks[k, row - 12 : row + 12, column - 12 : column + 12] = True
    assert kinds(masks) == found


@pytest.mark.parametrize(("gone", "name", "severity"), [(2, "L3", "error"), (0, "L1", "warning"), (5, "S1", "warning")])
def test_an_empty_mask_where_the_film_has_room(gone: int, name: str, severity: str):
    masks = np.pad(bodies(), ((0, 0), (40, 40), (0, 0)))
    masks[gone] = False
    finding = only(mask_findings("x", masks))
    assert (finding.severity, finding.kind) == (severity, "empty") and name in finding.sentence
    assert kinds(np.zeros_like(masks)) == [("error", "empty")]


def test_a_body_left_out():
    masks = np.zeros((6, 260, 200), dtype=np.bool_)
    for k in range(6):
        top = 20 + 26 * (k + (k > 2))
        masks[k, top : top + 16, 80:110] = True
    finding = only(mask_findings("x", masks))
    assert (finding.severity, finding.kind) == ("warning", "gap")
    assert "expected L4 next to L3, got 2.0 times" in finding.sentence


@pytest.mark.parametrize(("other_px", "severity"), [(3, "warning"), (100, "error")])
def test_in_pieces(other_px: int, severity: str):
    masks = bodies()
    masks[1, 54, 10 : 10 + min(other_px, 50)] = True
    masks[1, 55, 10 : 10 + max(other_px - 50, 0)] = True
    finding = only(mask_findings("x", masks))
    assert (finding.severity, finding.kind) == (severity, "pieces")
    assert f"L2 in one piece, got 480 px and 1 more of at most {other_px} px" in finding.sentence


def test_a_body_that_broke_in_two_is_looked_at():
    masks = bodies()
    masks[2, :, 93:97] = False
    finding = only(mask_findings("x", masks))
    assert (finding.severity, finding.kind) == ("warning", "pieces")
    assert (
        "L3 in one piece, got 272 px and 1 more of at most 144 px; remove what is not the body, unless it is a fracture"
        in finding.sentence
    )
    masks[2] = False
    masks[2, 72:88, 70:80] = masks[2, 72:88, 118:128] = True  # too far apart for one bone
    assert ("error", "pieces") in kinds(masks)


def test_the_border_may_show_two_corners_of_a_body():
    masks = bodies(top=20)
    masks[0] = False
    masks[0, :3, 78:84] = masks[0, :3, 104:110] = True
    assert kinds(masks)[0] == ("warning", "pieces")
    masks[0, 3:6, 104:110] = masks[0, 0, 104:110] = True
    masks[0, 0, 104:110] = False
    masks[0, 0, :] = False  # neither touches the border now
    assert ("error", "pieces") in kinds(masks)


@pytest.mark.parametrize(
    ("rows", "columns", "severity"),
    [(8, 10, "warning"), (4, 6, "error"), (24, 50, "warning"), (24, 110, "error"), (102, 160, "error")],
)
def test_an_odd_size(rows: int, columns: int, severity: str):
    masks = bodies()
    masks[3] = False
    masks[3, 98 : 98 + rows, 40 : 40 + columns] = True
    assert (severity, "size") in kinds(masks)


def test_points_instead_of_areas():
    masks = np.zeros((6, 400, 300), dtype=np.bool_)
    for k in range(6):
        masks[k, 50 + 50 * k : 53 + 50 * k, 150:153] = True
    assert kinds(masks) == [("warning", "size")]


def test_overlaps():
    masks = bodies()
    masks[5, 150 - 12 : 150, 100:104] = masks[4, 130:150, 100:104].any()
    masks[4, 138:142, 100:104] = True
    assert ("warning", "overlap") in kinds(masks)
    masks = bodies()
    masks[4] = masks[3]
    assert ("error", "same bone") in kinds(masks)


def test_halves_of_pairs(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(20), bodies(21), bodies(22))
    (folder / "label" / "1.mat").rename(folder / "label" / "01.mat")
    write_array(folder / "label" / "2.npy", bodies(22))
    (folder / "img" / "3.DCM").write_bytes(b"")
    (folder / "img" / "notes").write_text("no film")
    (folder / "img" / "._0.dcm").write_bytes(b"\0\5\x16\7")
    report = check_folder(folder)
    assert said(report) == [
        ("img/3.DCM", "error", "left out"),
        ("1", "warning", "no label"),
        ("2", "warning", "two labels"),
        ("img/notes", "warning", "left out"),
        ("label/01.mat", "warning", "no film"),
    ]
    assert [finding.sentence for finding in report.findings] == [
        "left out: an empty file",
        "no label has the film’s name; it is not used",
        "2.mat is used, 2.npy not; keep one",
        "left out: a file of another kind",
        "no film has the label’s name; it is not used",
    ]
    assert (report.films, report.pairs, report.errors) == (3, 2, 1)


def test_of_several_labels_the_one_that_is_used_is_named(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18), bodies(20))
    (folder / "label" / "1.mat").unlink()
    write_array(folder / "label" / "1.npy", bodies(20))
    for name in ("1-corrected-labels.png", "1.PNG"):
        write_png(folder / "label" / name, label_picture(bodies(21)))
    finding = single(check_folder(folder))
    assert (finding.film, finding.kind) == ("1", "two labels")
    assert finding.sentence == "1.npy is used, 1.PNG, 1-corrected-labels.png not; keep one"
    (folder / "label" / "1.npy").unlink()
    assert single(check_folder(folder)).sentence == "1.PNG is used, 1-corrected-labels.png not; keep one"


def test_label_files_in_subfolders_are_labels_and_never_films(tmp_path: Path):
    """Each format, with an ending in either case, below label as the film is below img."""
    paths = every_label(tmp_path, bodies(18))
    for k, (name, path) in enumerate(paths.items()):
        write_film(folder_for(tmp_path / "d" / "img" / f"{k}") / "1.DCM", noise(k))
        ending = next(suffix for suffix in LABEL_SUFFIXES if name.endswith(suffix))
        path.rename(folder_for(tmp_path / "d" / "label" / f"{k}") / f"1{ending.upper()}")
    data = read_folder(tmp_path / "d")
    assert sorted(files.name for files in data.films) == sorted(f"{k}/1" for k in range(len(paths)))
    assert data.left_out == data.alone == ()
    assert all(files.label and read_label(files.label, SHAPE).masks.any() for files in data.films)


def folder_for(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def single(report: FolderReport) -> Finding:
    (finding,) = report.findings
    return finding


def test_what_is_wrong_with_a_film_without_a_label_is_a_warning_and_need_not_be_read(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18), bodies(19), bodies(20))
    (folder / "label" / "0.mat").unlink()
    (folder / "label" / "1.mat").write_bytes(b"no label")
    (folder / "img" / "0.dcm").write_bytes((folder / "img" / "0.dcm").read_bytes()[:3000])
    report = check_folder(folder)
    assert said(report) == [
        ("1", "error", "unreadable label"),
        ("0", "warning", "no label"),
        ("0", "warning", "unreadable film"),
    ]
    assert said(check_folder(folder, labelled=True)) == said(report)[:2]
    with pytest.raises(FaultyFolder, match=r"^1: this is another kind of file, not a label; "):
        check_before_use(folder)


def test_of_a_film_that_is_there_three_times_those_with_a_label_are_the_error(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18), bodies(19), bodies(20))
    (folder / "label" / "0.mat").unlink()
    for k in (1, 2):
        write_film(folder / "img" / f"{k}.dcm", noise(0))
    report = check_folder(folder)
    assert said(report) == [
        ("2", "error", "same film"),
        ("0", "warning", "no label"),
        ("0", "warning", "same film"),
    ]


def test_a_link_repeats_a_film_on_purpose(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18))
    for part, name in (("img", "1.dcm"), ("label", "1.mat")):
        (folder / part / name).symlink_to(folder / part / name.replace("1", "0"))
    assert said(check_folder(folder)) == [("1", "warning", "same film")]


def test_no_pair_at_all(tmp_path: Path):
    with pytest.raises(NoFilms, match="This folder has no img/ with films"):
        check_folder(tmp_path)
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "1.DCM").touch()
    with pytest.raises(NoFilms, match=r"img/ holds no film: 1 file was looked at \(1 empty file\); name a folder"):
        check_folder(tmp_path)
    write_film(tmp_path / "img" / "1.dcm", noise(1))
    finding = check_folder(tmp_path).findings[0]
    assert (finding.film, finding.severity, finding.kind) == ("label/", "error", "no pair")
    assert finding.sentence.startswith(
        f"there is no folder {tmp_path / 'label'}; put the labels there, as <film>.mat, "
    )
    (tmp_path / "label").mkdir()
    assert (
        "label holds no label for 1 films, as 1; save them as <film>.mat" in check_folder(tmp_path).findings[0].sentence
    )
    (tmp_path / "label" / "one.npz").touch()
    assert "holds 1 labels, as one.npz, but none of a film, as 1; " in check_folder(tmp_path).findings[0].sentence


def save_label(path: Path, array: np.ndarray) -> None:
    scipy.io.savemat(path, {KEY: array})


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(tmp_path: Path):
    folder = folder_of(tmp_path, *(bodies(18 + k) for k in range(6)))
    (folder / "img" / "0.dcm").write_bytes(b"no film")
    (folder / "label" / "1.mat").write_bytes(b"no label")
    save_label(folder / "label" / "2.mat", to_array(bodies(20))[:150])
    write_film(folder / "img" / "3.dcm", noise(3, (200, 180)))
    save_label(folder / "label" / "3.mat", to_array(bodies(21))[:, :180].transpose(1, 0, 2))
    save_label(folder / "label" / "4.mat", to_array(bodies(22)) * 3)
    write_case(folder, Case("6", noise(6), bodies(24)))
    (folder / "img" / "6.dcm").write_bytes((folder / "img" / "6.dcm").read_bytes()[:3000])
    report = check_folder(folder, threads=2)
    sentences = {finding.film: finding.sentence for finding in report.findings}
    assert [(f.severity, f.kind) for f in report.findings] == [
        *[("error", "unreadable label")] * 4,
        ("error", "unreadable film"),
        ("error", "left out"),
        ("warning", "no film"),
    ]
    assert sentences["img/0.dcm"] == "left out: a file of another kind"
    assert sentences["label/0.mat"] == "no film has the label’s name; it is not used"
    assert "the film has 200 x 200 rows x columns, the label 150 x 200 x 7; " in sentences["2"]
    assert "transpose it" in sentences["3"]
    assert "other values than 0 and 1" in sentences["4"]


def test_background_and_overlap_are_warnings(tmp_path: Path):
    folder = folder_of(tmp_path, bodies())
    masks = bodies()
    masks[5, 149:152, 100:110] = True
    masks[4, 140:150, 100:110] = True
    array = to_array(masks)
    array[..., 6] = array[..., 5]  # the report copied channel 6 there
    save_label(folder / "label" / "0.mat", array)
    assert said(check_folder(folder)) == [("0", "warning", "overlap"), ("0", "warning", "background")]


@pytest.mark.parametrize("dots", [0, 4])
def test_a_constant_film(tmp_path: Path, dots: int):
    folder = folder_of(tmp_path, bodies())
    image = np.full(SHAPE, 5, np.float32)
    image[10, 10 : 10 + dots] = 9
    write_film(folder / "img" / "0.dcm", Film(image))
    kind = "constant film" if dots else "unreadable film"
    assert said(check_folder(folder)) == [("0", "error", kind)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image, "got the pixels of 0; "),
        (lambda image: image[:, ::-1], "got the pixels of 0, mirrored left to right; "),
        (lambda image: image[::-1], "got the pixels of 0, turned upside down by a mirror; "),
        (lambda image: image[::-1, ::-1], "got the pixels of 0, turned by 180 degrees; "),
        (lambda image: image.T, "got the pixels of 0, mirrored and turned by "),
        (lambda image: np.rot90(image), "got the pixels of 0, turned by "),
    ],
)
def test_the_same_film_twice(tmp_path: Path, change, words: str):
    folder = folder_of(tmp_path, bodies(18), bodies(19))
    (folder / "label" / "1.mat").unlink()
    write_film(folder / "img" / "1.dcm", Film(np.ascontiguousarray(change(noise(0).image))))
    report = check_folder(folder)
    assert said(report) == [("1", "warning", "no label"), ("1", "warning", "same film")]  # nothing is learnt from it
    assert words in report.findings[1].sentence


def test_the_same_film_under_another_label(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18), bodies(19))
    write_film(folder / "img" / "1.dcm", noise(0))
    finding = only(list(check_folder(folder).findings))
    assert finding.kind == "same film" and "under another label" in finding.sentence


def smooth(seed: int) -> np.ndarray:
    """A picture with structure that survives another size."""
    small = np.random.default_rng(seed).uniform(0, 3000, (25, 25))
    return np.kron(small, np.ones((8, 8)))


@pytest.mark.parametrize("change", [lambda i: i // 2 + 100, lambda i: 4095 - i, lambda i: i[::2, ::2]])
def test_nearly_the_same_film(tmp_path: Path, change):
    folder = folder_of(tmp_path, bodies(18))
    image = np.rint(smooth(1)).astype(np.float32)
    write_film(folder / "img" / "0.dcm", Film(image))
    write_film(folder / "img" / "1.dcm", Film(np.ascontiguousarray(change(image))))
    assert said(check_folder(folder)) == [("1", "warning", "no label"), ("1", "warning", "similar film")]


def test_the_same_label_twice(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18), bodies(19), bodies(18))
    finding = only(list(check_folder(folder).findings))
    assert (finding.film, finding.severity, finding.kind) == ("2", "error", "same label")
    assert "the very one of 0" in finding.sentence


def test_the_same_film_and_label_are_one_finding(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18), bodies(18))
    write_film(folder / "img" / "1.dcm", noise(0))
    assert said(check_folder(folder)) == [("1", "error", "same film")]


def test_threads_change_nothing(tmp_path: Path):
    folder = folder_of(tmp_path, bodies(18), bodies(18), bodies(20)[[1, 0, 2, 3, 4, 5]])
    assert check_folder(folder) == check_folder(folder, threads=3)


def test_the_report_is_json_without_a_folder(tmp_path: Path):
    report = check_folder(folder_of(tmp_path, bodies(18), bodies(18)))
    stored = json.loads(text := json.dumps(report.as_dict()))
    assert (stored["films"], stored["pairs"], stored["errors"], stored["warnings"]) == (2, 2, 1, 0)
    assert (stored["findings"][0]["film"], stored["findings"][0]["kind"]) == ("1", "same label")
    assert str(tmp_path) not in text and report.summary == "2 films, 2 with a label: 1 error, 0 warnings"
