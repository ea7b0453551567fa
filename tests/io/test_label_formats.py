"""Every format of labels gives the same masks, here and as the page reads it; what is no label is refused in words."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from dicom_files import dataset as dicom_film
from dicom_files import save as save_dicom
from label_files import channels_of, every_label, map_of, save_nifti, save_segmentation
from PIL import Image
from small import rectangles

from spineseg.film import ANATOMY, CHANNELS, VERTEBRAE, Film
from spineseg.io.dicom_seg import write_segmentation
from spineseg.io.dicom_write import write_film
from spineseg.io.isolation import read_label_isolated
from spineseg.io.label_formats import films_of_label
from spineseg.io.labels import KEY, UnreadableLabel, read_label
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.pictures import png_bytes
from spineseg.io.reader_pool import Refused
from spineseg.render import label_picture

SHAPE = (60, 45)
MASKS = rectangles(SHAPE, 4, 9, 6, 10, 18, slant=2)
LIMITS = replace(DEFAULT_LIMITS, wall_s=60.0)


def refusal(path: Path, shape: tuple[int, int] = SHAPE) -> str:
    with pytest.raises(UnreadableLabel) as caught:
        read_label(path, shape)
    sentence = str(caught.value)
    assert "; " in sentence and sentence.isprintable() and not any(word in sentence for word in ("Doe", str(path)))
    return sentence


def test_every_format_gives_the_masks_whatever_the_name(tmp_path: Path):
    for name, path in every_label(tmp_path, MASKS).items():
        bare = path.rename(tmp_path / "label")
        label = read_label(bare, SHAPE)
        assert np.array_equal(label.masks, MASKS), name
        assert label.remarks == (), name


def test_the_page_reads_the_same(tmp_path: Path):
    for name, path in every_label(tmp_path, MASKS).items():
        if name in ("page.npz", "map.mat", "grey.png", "plain.tif", "map.nii.gz", "binary.seg.dcm"):
            assert np.array_equal(read_label_isolated(path, SHAPE, limits=LIMITS).masks, MASKS), name


def test_masks_that_overlap_stay_in_each_where_the_format_can_hold_that(tmp_path: Path):
    masks = MASKS.copy()
    masks[5, 40:45, 20:25] = True
    overlap = int((masks.sum(axis=0) > 1).sum())
    paths = every_label(tmp_path, masks)
    for name in ("six.npy", "page.npz", "binary.seg.dcm", "fractional.seg.dcm"):
        label = read_label(paths[name], SHAPE)
        assert np.array_equal(label.masks, masks) and label.overlap_px == overlap > 0, name


def test_what_the_page_and_predict_write(tmp_path: Path):
    (tmp_path / "a-labels.png").write_bytes(png_bytes(label_picture(MASKS)))
    assert np.array_equal(read_label(tmp_path / "a-labels.png", SHAPE).masks, MASKS)


def test_our_own_segmentation_object(tmp_path: Path):
    shape = (96, 64)
    masks = rectangles(shape, 2, 12, 14, 20, 20)  # neighbours share two rows
    masks[1] = False
    write_film(tmp_path / "a.dcm", Film(np.arange(96 * 64, dtype=np.float32).reshape(shape) % 4096))
    write_segmentation(tmp_path / "a.seg.dcm", tmp_path / "a.dcm", masks, model="tiny")
    label = read_label(tmp_path / "a.seg.dcm", shape)
    assert np.array_equal(label.masks, masks) and label.overlap_px > 0


# Segmentations of others


def test_segments_are_told_by_code_then_by_label(tmp_path: Path):
    order = [3, 0, 5, 1, 4, 2]
    codes = [ANATOMY[k].snomed[0] for k in order]
    path = save_segmentation(tmp_path / "a", MASKS[order], labels=["x"] * 6, codes=codes)
    assert np.array_equal(read_label(path, SHAPE).masks, MASKS)
    labels = [f"vertebrae_{VERTEBRAE[k]}" for k in order[:5]] + [f"{VERTEBRAE[order[5]].lower()} vertebral body"]
    path = save_segmentation(tmp_path / "a", MASKS[order], labels=labels)
    assert np.array_equal(read_label(path, SHAPE).masks, MASKS)


def test_other_segments_are_left_out(tmp_path: Path):
    more = np.concatenate([MASKS[:2], ~MASKS[:1]])
    path = save_segmentation(tmp_path / "a", more, labels=["L1", "L2", "sacrum S10"])
    masks = read_label(path, SHAPE).masks
    assert np.array_equal(masks[:2], MASKS[:2]) and not masks[2:].any()


def test_segmentations_that_cannot_be_told(tmp_path: Path):
    path = save_segmentation(tmp_path / "a", MASKS[:2], labels=["T11", "T12"])
    assert refusal(path) == "none of the segments (T11, T12) is a vertebra of ours; name them L1, L2, L3, L4, L5, S1"
    with pytest.raises(Refused, match=r"^none of the segments is a vertebra of ours; "):
        read_label_isolated(path, SHAPE, limits=LIMITS)
    assert "two segments are the same vertebra" in refusal(save_segmentation(path, MASKS[:2], labels=["L1", "l1"]))
    assert "the label 60 x 45" in refusal(save_segmentation(path, MASKS), (60, 46))


def test_a_film_is_no_segmentation(tmp_path: Path):
    path = save_dicom(tmp_path / "a.dcm", dicom_film(np.arange(60 * 45, dtype=np.uint16).reshape(SHAPE)))
    assert refusal(path) == "this is a DICOM image, not a DICOM segmentation; choose the label"


# What a label map may hold


def saved_png(path: Path, numbers: np.ndarray) -> Path:
    path.write_bytes(cv2.imencode(".png", numbers)[1].tobytes())
    return path


def test_other_numbers_are_named_with_the_command_that_converts_them(tmp_path: Path):
    numbers = map_of(MASKS)
    sentence = refusal(saved_png(tmp_path / "a", np.where(numbers, numbers + 19, 0).astype(np.uint8)))
    assert "has the values 0, 20, 21, 22, 23, 24, 25; " in sentence
    assert "--values L1=20 L2=21 L3=22 L4=23 L5=24 S1=25" in sentence
    assert "has the values 0, 2, 3, 4, 5, 6, 7; " in refusal(
        saved_png(tmp_path / "a", np.where(MASKS[0], 7, numbers).astype(np.uint8))
    )


@pytest.mark.parametrize("inside", [255, 128])
def test_one_mask_of_all_vertebrae(tmp_path: Path, inside: int):
    numbers = np.where(MASKS.any(axis=0), np.uint8(inside), np.uint8(0))
    assert f"has the values 0, {inside}: one mask of all vertebrae; " in refusal(saved_png(tmp_path / "a", numbers))
    np.save(tmp_path / "a.npy", MASKS.any(axis=0))
    assert "one mask of true and false; " in refusal(tmp_path / "a.npy")


@pytest.mark.parametrize("value", [np.nan, -1.0, 0.5, 1e9, np.inf])
def test_values_that_number_nothing(tmp_path: Path, value: float):
    numbers = map_of(MASKS).astype(np.float32)
    numbers[0, 0] = value
    np.save(tmp_path / "a.npy", numbers)
    assert "has the values" in refusal(tmp_path / "a.npy")
    if np.isfinite(value):  # the library reads others as 0
        assert "other values than 0 to 65535" in refusal(save_nifti(tmp_path / "a.nii", numbers))


def test_pictures_that_are_no_labels(tmp_path: Path, rng: np.random.Generator):
    grey = rng.integers(0, 255, SHAPE).astype(np.uint8)
    assert "values, not a label map; " in refusal(saved_png(tmp_path / "a", grey))
    assert "has colours, not one number per pixel; " in refusal(
        saved_png(tmp_path / "a", rng.integers(0, 255, (*SHAPE, 3)).astype(np.uint8))
    )
    Image.fromarray(rng.integers(0, 255, (*SHAPE, 3)).astype(np.uint8)).save(tmp_path / "a", "TIFF")
    assert "has colours, not one number per pixel; " in refusal(tmp_path / "a")
    pages = [Image.fromarray(map_of(MASKS))] * 2
    pages[0].save(tmp_path / "a", "TIFF", save_all=True, append_images=pages[1:])
    assert "This is a TIFF picture with 2 pages or frames; export a single one" in refusal(tmp_path / "a")
    (tmp_path / "a").write_bytes(cv2.imencode(".jpg", grey)[1].tobytes())
    assert "this is a JPEG picture, which changes the numbers of a label; save" in refusal(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"%PDF-1.7")
    assert refusal(tmp_path / "a").startswith(
        "this is a PDF document, not a label; save the label as MATLAB, NumPy, PNG"
    )


def test_a_background_that_comes_first_is_told_and_a_map_is_not_meant(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.roll(channels_of(MASKS), 1, axis=2))
    assert refusal(tmp_path / "a.npy") == (
        "the first channel is the background; save it as the last, after L1, L2, L3, L4, L5, S1"
    )
    assert "the first channel is the background" in refusal(_mat(tmp_path / "a.mat", np.roll(channels_of(MASKS), 1, 2)))


def _mat(path: Path, array: np.ndarray) -> Path:
    scipy.io.savemat(path, {KEY: array * 255.0})
    return path


# Sizes


@pytest.mark.parametrize("make", [lambda m: map_of(m), lambda m: channels_of(m), lambda m: channels_of(m)[..., :6]])
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((600, 450), "save it at the film’s own size"),
        ((61, 50), "it is the label of another film"),
        ((45, 60), "its axes are exchanged, so transpose it to rows x columns"),
    ],
)
def test_labels_of_another_size(tmp_path: Path, make: Callable, shape: tuple[int, int], words: str):
    np.save(tmp_path / "a.npy", make(MASKS))
    sentence = refusal(tmp_path / "a.npy", shape)
    assert (
        sentence.startswith(f"the film has {shape[0]} x {shape[1]} rows x columns, the label 60 x 45")
        and words in sentence
    )
    sentence = refusal(saved_png(tmp_path / "a", map_of(MASKS)), shape)
    assert f"the film has {shape[0]} x {shape[1]} rows x columns, the label 60 x 45; {words}" in sentence


# Variables


def test_variables_of_other_names_are_listed_but_not_on_the_page(tmp_path: Path):
    scipy.io.savemat(tmp_path / "a.mat", {"label": channels_of(MASKS), "img": np.eye(3)})
    assert refusal(tmp_path / "a.mat") == (
        "the label file has label, img, but no label_separated; save the masks as label_separated"
    )
    np.savez(tmp_path / "a.npz", **{"label": channels_of(MASKS), "Doe/Jane": np.eye(3)})
    assert refusal(tmp_path / "a.npz") == "the label file has label, but no masks; save the masks as masks"
    for name in ("a.mat", "a.npz"):
        with pytest.raises(Refused, match=r"^the label file has no "):
            read_label_isolated(tmp_path / name, SHAPE, limits=LIMITS)


def test_a_npz_whose_channels_are_others(tmp_path: Path):
    for names in (CHANNELS[::-1], ("T12", *CHANNELS[:6]), np.zeros(10**6, "U1"), np.array([{}], object)):
        np.savez(tmp_path / "a.npz", masks=channels_of(MASKS), channels=np.array(names))
        assert "its channels are others than L1, L2, L3, L4, L5, S1, background; " in refusal(tmp_path / "a.npz")


# Files that claim or unpack to more than they should


def test_a_npz_that_claims_or_unpacks_to_gigabytes(tmp_path: Path):
    def archive(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as made:
            made.writestr("masks.npy", content)
        return tmp_path / "a.npz"

    head = BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6, 7)})
    assert "the label 1000000 x 1000000 x 7" in refusal(archive(head.getvalue() + bytes(10**7)))
    assert "the label file is damaged; " in refusal(archive(bytes(10**7)))
    assert "packed by a method that NumPy does not use" in refusal(archive(bytes(99), zipfile.ZIP_LZMA))


def test_a_gzip_that_unpacks_to_more_than_its_header_says_is_not_unpacked(tmp_path: Path):
    content = gzip.decompress(save_nifti(tmp_path / "a.nii.gz", map_of(MASKS)).read_bytes())
    (tmp_path / "b").write_bytes(gzip.compress(content + bytes(2**28), mtime=0))
    assert np.array_equal(read_label_isolated(tmp_path / "b", SHAPE, limits=LIMITS).masks, MASKS)
    head = bytearray(content[:352])
    struct.pack_into("<3h", head, 42, 30_000, 30_000, 1)
    (tmp_path / "b").write_bytes(gzip.compress(bytes(head) + bytes(2**20), mtime=0))
    assert "a volume, colours or a larger one" in refusal(tmp_path / "b")
    (tmp_path / "b").write_bytes(gzip.compress(b"a letter" * 99))
    assert "expected a sound NIfTI picture" in refusal(tmp_path / "b")


def test_a_tiff_that_claims_too_many_pixels(tmp_path: Path):
    Image.fromarray(np.zeros((7000, 6000), np.uint8)).save(tmp_path / "a", "TIFF", compression="tiff_adobe_deflate")
    assert "expected at most 40 million pixels" in refusal(tmp_path / "a")


def test_cut_short_anywhere(tmp_path: Path):
    for name, path in every_label(tmp_path, MASKS).items():
        content, cut = path.read_bytes(), tmp_path / "cut"
        for length in {*range(1, len(content), max(1, len(content) // 20)), len(content) - 1}:
            cut.write_bytes(content[:length])
            try:
                masks = read_label(cut, SHAPE).masks
            except UnreadableLabel:
                continue
            assert np.array_equal(masks, MASKS), (name, length, len(content))


# Names


@pytest.mark.parametrize(
    ("name", "films"),
    [
        ("7.mat", ["7"]),
        ("7.NPY", ["7"]),
        ("7-labels.png", ["7", "7-labels"]),
        ("7-corrected-labels.png", ["7-corrected", "7", "7-corrected-labels"]),
        ("7-corrected.npz", ["7-corrected", "7"]),
        ("film A.B.nii.gz", ["film A.B"]),
        ("7.seg.dcm", ["7", "7.seg"]),
        ("7.txt", []),
    ],
)
def test_the_films_that_a_label_may_belong_to(name: str, films: list[str]):
    assert [film for film, _ in films_of_label(name)] == films
