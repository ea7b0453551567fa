"""convert: label maps of other tools become masks where the film shows the bones, or nothing is written.

NIfTI files are built here byte by byte from their specification, so that the reader is not tested with itself.
"""

from __future__ import annotations

import gzip
import struct
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import rectangles

from spineseg.data import convert
from spineseg.data.convert import (
    ConvertConfig,
    NotConverted,
    convert_folder,
    masks_of_map,
    read_picture,
    stored_values,
    value_table,
)
from spineseg.film import BadInput, Film, Masks, Spacing
from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.folder import read_folder
from spineseg.io.label_maps import read_label_map
from spineseg.io.labels import read_label, write_mat
from spineseg.io.nifti import Volume, film_plane, read_nifti
from spineseg.io.picture_decoder import UnreadablePicture

SHAPE = (200, 150)
TABLE = value_table(ConvertConfig(Path(), Path(), Path()).values)


def bodies() -> Masks:
    return rectangles(SHAPE, 20, 26, 16, 70, 30, slant=3)


def label_map(masks: Masks, first: int = 1) -> np.ndarray:
    return sum(((first + k) * mask.astype(np.uint8) for k, mask in enumerate(masks)), np.zeros(SHAPE, np.uint8))


def grey(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, SHAPE).astype(np.uint16)


def write_png(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    assert cv2.imwrite(str(path), array)
    return path


def png(path: Path, values: np.ndarray, depth: int, kind: int, palette: bytes = b"") -> Path:
    """A PNG of a depth and a colour type that OpenCV does not write (PNG 11.2)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows, columns = values.shape
    bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :].reshape(rows, -1)
    lines = b"".join(b"\0" + line.tobytes() for line in np.packbits(bits, axis=1))
    head = struct.pack(">IIBBBBB", columns, rows, depth, kind, 0, 0, 0)
    content = (
        chunk(b"IHDR", head) + (chunk(b"PLTE", palette) if palette else b"") + chunk(b"IDAT", zlib.compress(lines))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    return path


def nifti(path: Path, stored: np.ndarray, affine: np.ndarray, *, coded: bool = True) -> Path:
    """NIfTI-1 of an array indexed [i, j(, k)], with its affine to (right, front, head) in mm."""
    codes = {"uint8": 2, "int16": 4, "float32": 16, "uint16": 512, "float64": 64}
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, stored.ndim, *stored.shape, *(1,) * (7 - stored.ndim))
    struct.pack_into("<hh", head, 70, codes[str(stored.dtype)], 8 * stored.dtype.itemsize)
    struct.pack_into("<4f", head, 76, 1, *np.linalg.norm(affine[:3, :3], axis=0))
    struct.pack_into("<ff", head, 108, 352, 1)
    head[123] = 2
    if coded:
        struct.pack_into("<h", head, 254, 1)
        struct.pack_into("<12f", head, 280, *affine[:3].ravel())
    head[344:348] = b"n+1\0"
    content = bytes(head) + stored.tobytes(order="F")
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_the_table():
    assert TABLE == {"L1": 1, "L2": 2, "L3": 3, "L4": 4, "L5": 5, "S1": 6}
    assert value_table(["l5=24", "S1=26"]) == {"L5": 24, "S1": 26}


@pytest.mark.parametrize("words", [["L1"], ["T1=3"], ["L1=0"], ["L1=-1"], ["L1=1", "L1=2"], ["L1=1", "L2=1"], ["L1=a"]])
def test_a_table_that_is_none(words: list[str]):
    with pytest.raises(BadInput, match=r"^expected .* got .*; "):
        value_table(words)


def test_a_number_that_nothing_explains():
    with pytest.raises(UnreadablePicture, match="got also 6; add them or --ignore them"):
        masks_of_map(label_map(bodies()).astype(np.int32), value_table(["L1=1", "L2=2", "L3=3", "L4=4", "L5=5"]))


COLOURS, BLACK = bytes(range(3 * 7)), bytes(3 * 7)


@pytest.mark.parametrize(
    ("depth", "kind", "palette"),
    [*((depth, 0, b"") for depth in (1, 2, 4, 8)), (4, 3, COLOURS), (8, 3, COLOURS), (8, 3, BLACK)],
)
def test_a_png_of_any_depth_keeps_its_numbers(tmp_path: Path, depth: int, kind: int, palette: bytes):
    """Decoders stretch 0..15 to 0..255, and give colours instead of indices: right for pictures, wrong for labels."""
    labels = np.minimum(label_map(bodies()), 2**depth - 1)
    values, spacing = read_label_map(png(tmp_path / "a.png", labels, depth, kind, palette))
    assert np.array_equal(values, labels) and spacing is None


def test_a_png_of_16_bits_keeps_its_numbers_grey_or_in_equal_colours(tmp_path: Path):
    deep = label_map(bodies()).astype(np.uint16) * 4000
    for stored in (deep, np.repeat(deep[..., None], 3, axis=2)):
        assert np.array_equal(read_label_map(write_png(tmp_path / "a.png", stored))[0], deep)


def test_more_pixels_than_a_film_may_have_are_not_decoded(tmp_path: Path):
    content = bytearray(png(path := tmp_path / "a.png", label_map(bodies()), 8, 0).read_bytes())
    content[16:24] = struct.pack(">II", 7000, 7000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(UnreadableFilm, match="at most 40 million pixels"):
        read_label_map(path)


def test_colours_are_refused(tmp_path: Path):
    labels = np.repeat(label_map(bodies())[..., None], 3, axis=2)
    labels[0, 0, 1] = 7
    with pytest.raises(UnreadablePicture, match="has colours, not one number per pixel"):
        read_label_map(write_png(tmp_path / "a.png", labels))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "this is an empty file, not a label map"),
        (b"\x89PNG\r\n\x1a\n", "This is a PNG picture that is damaged"),
        (b"\xff\xd8\xff" + bytes(40), "this is a JPEG picture, not a label map; save it as PNG, TIFF or NIfTI"),
    ],
)
def test_no_png(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadablePicture, match=words):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("kind", [0, 3])
def test_half_a_png(tmp_path: Path, kind: int):
    path = png(tmp_path / "a.png", label_map(bodies()), 8, kind, bytes(21) if kind else b"")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UnreadablePicture, match="This is a PNG picture that is damaged"):
        read_label_map(path)


def affine_of(axes: tuple[str, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Each axis of the file points to R, L, A, P, S or I, with its step in mm."""
    towards = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for k, (axis, step) in enumerate(zip(axes, spacing, strict=True)):
        row, sign = towards[axis]
        affine[row, k] = sign * step
    return affine


def oriented(film: np.ndarray, axes: tuple[str, ...], rows: str, columns: str) -> np.ndarray:
    """The film (rows towards `rows`, columns towards `columns`) as a file with those axes would hold it."""
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    place = {axis: k for k, axis in enumerate(axes)}
    down = rows if rows in place else opposite[rows]
    across = columns if columns in place else opposite[columns]
    film = film[::-1] if down != rows else film
    film = film[:, ::-1] if across != columns else film
    stored = film if place[down] < place[across] else film.T
    return np.expand_dims(stored, 3 - place[down] - place[across])


ORDERS = [(*order,) for signs in product("AP", "SI", "RL") for order in permutations(signs)]
"""48 ways to store one film."""


@pytest.mark.parametrize("axes", ORDERS, ids="".join)
@pytest.mark.parametrize(
    ("rows", "columns", "steps"),
    [
        ("I", "P", {"S": 0.4, "I": 0.4, "A": 0.2, "P": 0.2, "R": 3.0, "L": 3.0}),
        ("P", "L", {"A": 0.4, "P": 0.4, "R": 0.2, "L": 0.2, "S": 1.0, "I": 1.0}),
    ],
    ids=["sagittal, feet down, back to the right", "flat, as ITK makes one of a PNG"],
)
def test_a_plane_in_every_order_of_axes(
    tmp_path: Path, rows: str, columns: str, steps: dict[str, float], axes: tuple[str, ...]
):
    stored = oriented(label_map(bodies()), axes, rows, columns)
    path = nifti(tmp_path / "a.nii.gz", stored, affine_of(axes, tuple(steps[axis] for axis in axes)))
    values, spacing = read_label_map(path)
    assert np.array_equal(values, label_map(bodies())) and spacing == Spacing(0.4, 0.2, "detector")


def test_a_header_that_says_nothing_is_read_as_stored(tmp_path: Path):
    path = nifti(tmp_path / "a.nii", label_map(bodies()).T[..., None].copy(), np.diag([0.2, 0.4, 1, 1]), coded=False)
    values, spacing = read_label_map(path)
    assert np.array_equal(values, label_map(bodies())) and spacing == Spacing(0.4, 0.2, "detector")


def test_a_header_that_is_wrong_can_be_overruled(tmp_path: Path):
    """numpy arrays saved with an identity affine: RAS by the header, in truth anything."""
    labels = label_map(bodies())
    path = nifti(tmp_path / "a.nii", labels[..., None].copy(), np.eye(4))
    assert np.array_equal(read_label_map(path, "exchanged")[0], labels)
    path = nifti(tmp_path / "a.nii", labels.T[..., None].copy(), np.eye(4))
    assert np.array_equal(read_label_map(path, "stored")[0], labels)
    assert np.array_equal(read_label_map(path, "header")[0], labels[::-1, ::-1])
    assert read_label_map(path, "stored")[1] is None  # 1 x 1 mm is nobody's spacing


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "uint16"])
def test_numbers_of_any_type(tmp_path: Path, dtype: str):
    path = nifti(tmp_path / "a.nii", label_map(bodies()).T.astype(dtype), np.diag([-1, -1, 1, 1]))
    assert np.array_equal(read_label_map(path)[0], label_map(bodies()))


@pytest.mark.parametrize("value", [0.5, -1, 1e9])
def test_numbers_that_are_no_labels(tmp_path: Path, value: float):
    labels = label_map(bodies()).T.astype(np.float32)
    labels[0, 0] = value
    with pytest.raises(UnreadablePicture, match="other values than 0 to 65535; save it as whole numbers"):
        read_label_map(nifti(tmp_path / "a.nii", labels, np.diag([-1, -1, 1, 1])))


def test_no_single_picture(tmp_path: Path):
    labels = np.stack([label_map(bodies()).T] * 2, axis=-1)
    with pytest.raises(UnreadablePicture, match="expected one picture, got 150 x 200 x 2"):
        read_label_map(nifti(tmp_path / "a.nii", labels, np.diag([-1, -1, 1, 1])))


@pytest.mark.parametrize("content", [b"", b"nothing", bytes(352)])
def test_no_nifti(tmp_path: Path, content: bytes):
    (tmp_path / "doe-jane.nii").write_bytes(content)
    with pytest.raises(UnreadableFilm, match="expected a sound NIfTI") as caught:
        read_nifti(tmp_path / "doe-jane.nii")
    assert "doe" not in str(caught.value)


def test_axes_that_are_oblique():
    half = np.sqrt(0.5)
    volume = Volume(np.zeros((1, 3, 4)), np.array([[half, -half, 0], [half, half, 0], [0, 0, 1]]), (1.0, 1.0, 1.0))
    values, _ = film_plane(replace(volume, direction=np.diag([1.0, 1.0, 1.0])), "header")
    assert values.shape == (3, 4)
    with pytest.raises(UnreadablePicture, match="expected axes of a film, got oblique ones"):
        film_plane(replace(volume, direction=np.array([[0.8, 0.8, 0], [0.6, -0.6, 0], [0, 0, 1.0]])), "header")


def test_films_of_every_kind(tmp_path: Path):
    image = grey()
    write_film(tmp_path / "a.DCM", Film(image.astype(np.float32), Spacing(0.3, 0.2, "patient")))
    write_png(tmp_path / "a.png", image)
    nifti(tmp_path / "a.nii.gz", image.T.astype(np.int16), np.diag([-0.2, -0.3, 1, 1]))
    films = [read_picture(tmp_path / name) for name in ("a.DCM", "a.png", "a.nii.gz")]
    assert all(np.array_equal(film.image, image) for film in films)
    assert [film.spacing for film in films] == [Spacing(0.3, 0.2, "patient"), None, Spacing(0.3, 0.2, "detector")]
    dark = read_picture(tmp_path / "a.png", invert=True).image
    assert np.array_equal(dark, image.max() + float(image.min()) - image)


@pytest.mark.parametrize(
    "array", [np.zeros((100, 100), np.int16), np.arange(63 * 100).reshape(63, 100).astype(np.int16)]
)
def test_what_is_no_film(tmp_path: Path, array: np.ndarray):
    with pytest.raises(UnreadablePicture, match="expected a picture of at least 64 x 64"):
        read_picture(nifti(tmp_path / "a.nii.gz", array, np.diag([-0.2, -0.3, 1, 1])))


@pytest.mark.parametrize(
    ("change", "bits", "kept"),
    [
        (lambda i: i, 12, True),
        (lambda i: i * 16, 16, True),
        (lambda i: i - 1000, 16, False),
        (lambda i: i / 4095, 16, False),
        (lambda i: i * 100, 16, False),
    ],
)
def test_what_is_stored(tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], bits: int, kept: bool):
    image = change(grey().astype(np.float32)).astype(np.float32)
    film, found = stored_values(Film(image))
    write_film(tmp_path / "a.dcm", film, bits_stored=found)
    again = read_film(tmp_path / "a.dcm").image
    assert found == bits and np.array_equal(again, film.image)
    if kept:
        assert np.array_equal(again, image)
    else:
        assert (again.min(), again.max()) == (0, 65535)
        assert np.corrcoef(again.ravel(), image.ravel())[0, 1] > 0.999999


@pytest.fixture
def config(tmp_path: Path) -> ConvertConfig:
    """Two films as PNG with label maps as PNG."""
    for k in range(2):
        write_png(tmp_path / "films" / f"{k}.png", grey(k))
        write_png(tmp_path / "labels" / f"{k}.png", label_map(np.roll(bodies(), k, axis=2)))
    return ConvertConfig(tmp_path / "films", tmp_path / "labels", tmp_path / "out")


def assert_converted(config: ConvertConfig) -> None:
    for k in range(2):
        film = read_film(config.out / "img" / f"{k}.dcm")
        assert np.array_equal(film.image, grey(k))
        label = read_label(config.out / "label" / f"{k}.{config.label_format}", film.shape)
        assert np.array_equal(label.masks, np.roll(bodies(), k, axis=2)) and label.remarks == ()
    assert sorted(p.name for p in config.out.parent.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("label_format", ["mat", "npy"])
def test_png_to_folder(config: ConvertConfig, label_format: str):
    config = replace(config, label_format=label_format)
    assert convert_folder(config) == convert.Converted(("0", "1"), {}, 2)
    assert_converted(config)
    assert sorted(p.name for p in config.out.iterdir()) == ["img", "label"]


@pytest.mark.parametrize(
    "layout", ["{film}_{name}.png", "{film}-{name}.png", "{film}/{name}.png", "{film}/mask_{name}.png"]
)
@pytest.mark.parametrize("inside", [1, 255])
def test_one_png_per_vertebra(config: ConvertConfig, layout: str, inside: int):
    for path in config.labels.iterdir():
        path.unlink()
    for film, (k, name) in product(range(2), enumerate(("L1", "l2", "L3", "L4", "L5", "s1"))):
        mask = np.roll(bodies(), film, axis=2)[k].astype(np.uint8) * inside
        write_png(config.labels / layout.format(film=film, name=name), mask)
    convert_folder(config)
    assert_converted(config)


def test_a_film_whose_own_name_ends_like_a_vertebra(config: ConvertConfig):
    for folder in (config.films, config.labels):
        (folder / "1.png").rename(folder / "0_L1.png")
    assert convert_folder(config).names == ("0", "0_L1")


@pytest.mark.parametrize("order", [("R", "A", "S"), ("A", "S", "R"), ("P", "I", "L"), ("L", "P", "S")], ids="".join)
def test_nifti_films_with_nifti_labels(config: ConvertConfig, order: tuple[str, ...]):
    """Both as one tool turned them; the spacing comes along."""
    flat = order[2] == "S"
    rows, columns = ("P", "L") if flat else ("I", "P")
    for k in range(2):
        for folder, array in ((config.films, grey(k)), (config.labels, label_map(np.roll(bodies(), k, axis=2)))):
            (folder / f"{k}.png").unlink()
            stored = oriented(array.astype(np.int16), order, rows, columns)
            nifti(folder / f"{k}.nii.gz", stored, affine_of(order, (0.3, 0.3, 0.3)))
    convert_folder(config)
    assert_converted(config)
    assert read_film(config.out / "img" / "0.dcm").spacing == Spacing(0.3, 0.3, "detector")


def test_png_film_takes_the_spacing_of_its_nifti_label(config: ConvertConfig):
    for k in range(2):
        (config.labels / f"{k}.png").unlink()
        stored = label_map(np.roll(bodies(), k, axis=2)).T.copy()
        nifti(config.labels / f"{k}.nii", stored, np.diag([-0.2, -0.4, 1, 1]))
    convert_folder(config)
    assert_converted(config)
    assert read_film(config.out / "img" / "1.dcm").spacing == Spacing(0.4, 0.2, "detector")


def test_dicom_films_lose_their_identity_and_keep_their_pixels(config: ConvertConfig):
    for k in range(2):
        (config.films / f"{k}.png").unlink()
        write_film(config.films / f"{k}.dcm", Film(grey(k).astype(np.float32), Spacing(0.2, 0.2, "patient")))
        content = (config.films / f"{k}.dcm").read_bytes()
        name = b"\x10\x00\x10\x00PN"  # an explicit, empty PatientName
        (config.films / f"{k}.dcm").write_bytes(content.replace(name + b"\0\0", name + b"\x08\0Doe^Jane"))
        assert b"Doe^Jane" in (config.films / f"{k}.dcm").read_bytes()
    convert_folder(config)
    assert_converted(config)
    assert b"Doe^Jane" not in (config.out / "img" / "0.dcm").read_bytes()
    assert read_film(config.out / "img" / "0.dcm").spacing == Spacing(0.2, 0.2, "patient")


def test_names_with_more_at_their_end(config: ConvertConfig):
    for k in range(2):
        (config.films / f"{k}.png").rename(config.films / f"{k}_0000.png")
        (config.labels / f"{k}.png").rename(config.labels / f"{k}_seg.png")
    with pytest.raises(
        BadInput, match=r"got 2 films and 2 labels without a pair; see --film-suffix and --label-suffix"
    ):
        convert_folder(config)
    convert_folder(replace(config, film_suffix="_0000", label_suffix="_seg"))
    assert_converted(config)


def test_films_and_labels_at_any_depth(config: ConvertConfig):
    """With equal paths below their folders; a film without an ending too, and what is no film is named."""
    for k, path in enumerate(("a/1", "b/1")):
        for folder in (config.films, config.labels):
            (folder / path).parent.mkdir()
            (folder / f"{k}.png").rename(folder / f"{path}.png")
    write_film(config.films / "b" / "plain", Film(grey(5).astype(np.float32)))
    write_png(config.labels / "b" / "plain.png", label_map(bodies()))
    (config.films / "b" / "report").write_bytes(b"%PDF-1.7")
    done = convert_folder(config)
    assert done == convert.Converted(("a/1", "b/1", "b/plain"), {"b/report": "a PDF document"}, 3)
    found = read_folder(config.out)
    assert (
        [files.name for files in found.films] == ["a/1", "b/1", "b/plain"]
        and all(files.label for files in found.films)
        and found.left_out == found.alone == ()
    )
    assert np.array_equal(read_film(found.films[1].film).image, grey(1))


def test_halves_of_pairs_are_told(config: ConvertConfig):
    write_png(config.films / "7.png", grey())
    write_png(config.labels / "8.png", label_map(bodies()))
    left_out = convert_folder(config).left_out
    assert left_out == {
        "7.png": "expected a label of its name that can be converted, found none",
        "8.png": "expected a film of its name that can be converted, found none",
    }


def test_what_lies_beside_the_label_maps_is_told(config: ConvertConfig):
    """Also where nothing is written, and none of a film in a folder that holds both."""
    (config.labels / "0.png").rename(config.labels / "0_seg.png")
    write_mat(config.labels / "2.mat", bodies())
    for name in ("1.jpg", "notes.txt", ".DS_Store"):
        (config.labels / name).write_bytes(b"another file")
    config = replace(config, label_suffix="_seg")
    left_out = {
        "1.jpg": "expected a label map as PNG, TIFF or NIfTI, got another file; save it as PNG",
        "1.png": "its name does not end with --label-suffix",
        "2.mat": "no label map, but train reads it as it is; copy it into label/",
        "notes.txt": "expected a label map as PNG, TIFF or NIfTI, got another file; save it as PNG",
    }
    left_out_film = "expected a label of its name that can be converted, found none"
    (config.films / "1.png").rename(config.films / "3.png")
    assert convert_folder(config) == convert.Converted(("0",), left_out | {"3.png": left_out_film}, 2)
    write_png(config.labels / "0_seg.png", label_map(bodies(), 2))
    with pytest.raises(NotConverted) as caught:
        convert_folder(replace(config, out=config.out.with_name("out2")))
    assert caught.value.failed.keys() == {"0", "3.png", *left_out}
    for path in config.labels.glob("0_seg*"):
        write_png(config.films / path.name, label_map(bodies()))
    done = convert_folder(replace(config, labels=config.films, out=config.out.with_name("out3")))
    assert done == convert.Converted(("0",), {"3.png": left_out_film}, 2)


def test_names_of_macos_are_those_of_other_systems(config: ConvertConfig):
    """It stores an umlaut as two letters, which look like one."""
    (config.films / "0.png").rename(config.films / unicodedata.normalize("NFD", "Müller 0.png"))
    (config.labels / "0.png").rename(config.labels / "Müller 0.png")
    assert convert_folder(config).names == ("1", "Müller 0")


SPOILT: dict[str, tuple[np.ndarray | bytes, str]] = {
    "size": (label_map(bodies())[:-1], "film's 200 x 150 rows x columns, got 199 x 150; do they belong together"),
    "turned": (np.ascontiguousarray(label_map(bodies()).T), "got 150 x 200; try --orientation"),
    "upside down": (label_map(bodies())[::-1], "reverse the channels, or give another --orientation"),
    "values": (label_map(bodies(), 2), "expected numbers that --values explains, got also 7"),
    "order": (label_map(bodies()[[1, 0, 2, 3, 4, 5]]), "got L1 and L2 exchanged"),
    "film": (b"no film", "This is another kind of file, not a film"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_one_pair_that_cannot_be_converted(config: ConvertConfig, kind: str):
    content, words = SPOILT[kind]
    if isinstance(content, bytes):
        (config.films / "1.png").write_bytes(content)
    else:
        write_png(config.labels / "1.png", content)
    with pytest.raises(NotConverted, match=r"^expected all of 2 pairs to convert, 1 do not; ") as caught:
        convert_folder(config)
    assert list(caught.value.failed) == ["1"] and words in caught.value.failed["1"]
    assert sorted(p.name for p in config.out.parent.iterdir()) == ["films", "labels"]
    done = convert_folder(replace(config, skip=True))
    assert done.names == ("0",) and words in done.left_out["1"]
    assert [p.name for p in (config.out / "img").iterdir()] == ["0.dcm"]


def test_a_folder_is_not_replaced_unasked(config: ConvertConfig):
    convert_folder(config)
    before = (config.out / "img" / "0.dcm").stat().st_mtime_ns
    with pytest.raises(BadInput, match="expected a new folder, got one with films in it"):
        convert_folder(config)
    assert (config.out / "img" / "0.dcm").stat().st_mtime_ns == before
    for path in (config.films / "1.png", config.labels / "1.png"):
        path.unlink()
    convert_folder(replace(config, force=True))
    assert sorted(p.name for p in config.out.rglob("*")) == ["0.dcm", "0.mat", "img", "label"]


def test_a_folder_with_other_things_is_never_replaced(config: ConvertConfig):
    config.out.mkdir()
    (config.out / "thesis.txt").write_text("precious")
    with pytest.raises(BadInput, match="got more"):
        convert_folder(replace(config, force=True))
    assert (config.out / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interruption_leaves_what_was_there(
    config: ConvertConfig, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    convert_folder(config)
    before = {p: p.read_bytes() for p in config.out.rglob("*.*")}
    write, calls = convert.write_mat, []

    def second_fails(path: Path, masks: Masks) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise error
        write(path, masks)

    monkeypatch.setattr(convert, "write_mat", second_fails)
    with pytest.raises(type(error)):
        convert_folder(replace(config, force=True))
    assert {p: p.read_bytes() for p in config.out.rglob("*.*")} == before
    assert sorted(p.name for p in config.out.parent.iterdir()) == ["films", "labels", "out"]


def test_two_files_of_one_name(config: ConvertConfig):
    nifti(config.films / "0.nii", grey().T.astype(np.int16), np.eye(4))
    with pytest.raises(BadInput, match=r"expected one file of each name, got 0\.nii and 0\.png"):
        convert_folder(config)
