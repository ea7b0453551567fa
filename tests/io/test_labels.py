"""Label files: every format, type and scale gives the same masks; anything else is refused; what is written is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from spineseg.film import CHANNELS, VERTEBRAE, Masks
from spineseg.io.label_formats import LABEL_SUFFIXES, either
from spineseg.io.labels import KEY, UnreadableLabel, read_label, to_array, write_array, write_mat

SHAPE = (40, 30)
COUNT = len(VERTEBRAE)
MASKS: Masks = np.zeros((COUNT, *SHAPE), dtype=np.bool_)
for _k in range(COUNT):  # bars of 10 px width; the last covers a row of the one before: 10 px in both
    MASKS[_k, 5 * _k : 5 * _k + 5 + (_k == COUNT - 2), 10:20] = True
ARRAY = np.dstack([*MASKS, ~MASKS.any(axis=0)]).astype(np.uint8)
"""As a file holds it, made without the code under test."""
EMPTY = np.zeros_like(ARRAY)
PATTERN = f"the film has {SHAPE[0]} x {SHAPE[1]} rows x columns, the label "


def save_mat(path: Path, array: Any, key: str = KEY) -> Path:
    scipy.io.savemat(path, {key: array})
    return path


def save_mat73(path: Path, array: np.ndarray, matlab_class: str = "") -> Path:
    """As MATLAB does it: 512 bytes of its own, then HDF5 with the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        dataset = file.create_dataset(KEY, data=array.T, compression="gzip")
        dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class or str(array.dtype))
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\0\2IM")
    return path


def save_npy(path: Path, array: np.ndarray) -> Path:
    with open(path, "wb") as stream:
        np.save(stream, array)
    return path


SAVERS = {"mat v5": save_mat, "mat v7.3": save_mat73, "npy": save_npy}


@pytest.fixture(params=SAVERS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Path]:
    """A file of each format with the array, under a name without a suffix."""
    return lambda array: SAVERS[request.param](tmp_path / "doe-jane", array)


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableLabel) as caught:
        read_label(path, SHAPE)
    sentence = str(caught.value)
    assert "; " in sentence and sentence.isprintable() and not sentence.endswith((".", ";")), sentence
    assert not any(secret in sentence.lower() for secret in (str(path), path.name, "doe", "jane"))
    assert caught.value.__cause__ is None
    return sentence


def test_every_type_and_scale_becomes_true_and_false(saved: Callable[[np.ndarray], Path]):
    for dtype in ("bool", "uint8", "uint16", "int16", "int32", "float32", "float64"):
        for scale in (1,) if dtype == "bool" else (1, 255):
            label = read_label(saved((ARRAY * scale).astype(dtype)), SHAPE)
            assert label.masks.dtype == np.bool_
            np.testing.assert_array_equal(label.masks, MASKS)
            assert (label.overlap_px, label.background_disagreement_px) == (10, 0)


def test_matlab_logical_of_v73(tmp_path: Path):
    path = save_mat73(tmp_path / "a.mat", ARRAY, "logical")
    np.testing.assert_array_equal(read_label(path, SHAPE).masks, MASKS)


INSIDE, SIZE = int(MASKS.any(axis=0).sum()), SHAPE[0] * SHAPE[1]


@pytest.mark.parametrize(
    ("background", "disagreement_px"),
    [
        (ARRAY[..., -2], SIZE - INSIDE + int(MASKS[-1].sum())),  # the last vertebra copied
        (1 - MASKS.sum(axis=0, dtype=np.int16), 10),  # -1 where two overlap
        (1 - MASKS.sum(axis=0, dtype=np.uint8), 10),  # 255 there
        (ARRAY[..., -1] * 255.0, SIZE - INSIDE),  # another scale
        (np.full(SHAPE, np.nan), SIZE),
    ],
)
def test_the_stored_background_is_reported_and_not_used(
    saved: Callable[[np.ndarray], Path], background: np.ndarray, disagreement_px: int
):
    label = read_label(saved(np.dstack([ARRAY[..., :-1].astype(background.dtype), background])), SHAPE)
    np.testing.assert_array_equal(label.masks, MASKS)
    assert label.background_disagreement_px == disagreement_px
    assert len(label.remarks) == 2 and str(disagreement_px) in label.remarks[1]


@pytest.mark.parametrize("one", [1, 255])
def test_a_film_without_any_vertebra(saved: Callable[[np.ndarray], Path], one: int):
    array = EMPTY.copy()
    array[..., -1] = one
    label = read_label(saved(array), SHAPE)
    assert not label.masks.any() and label.remarks == ()


def test_real_labels(shared: Path):
    paths = sorted(shared.glob("films/label/*.mat"))
    assert len(paths) == 11
    for path in paths:
        array = scipy.io.loadmat(path)[KEY]
        label = read_label(path, array.shape[:2])
        np.testing.assert_array_equal(label.masks, array[..., :-1].transpose(2, 0, 1) == 1)
        assert label.overlap_px == (array[..., :-1].sum(axis=2) > 1).sum()
        assert label.background_disagreement_px == 0


def test_the_table_of_formats_gives_suffixes_and_sentences(tmp_path: Path):
    assert {".mat", ".npy", ".npz", ".png", ".tif", ".nii", ".nii.gz", ".seg.dcm"} < set(LABEL_SUFFIXES)
    (tmp_path / "a.mat").write_bytes(b"x" * 999)
    assert refusal(tmp_path / "a.mat") == (
        "this is another kind of file, not a label; "
        "save the label as MATLAB, NumPy, PNG, TIFF, NIfTI or DICOM segmentation"
    )
    assert [either("a"), either("ab"), either("abcb")] == ["a", "a or b", "a, b or c"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1, 0.5, 0.999, 1.5, 2, 255, 254])
def test_one_other_value_is_refused(saved: Callable[[np.ndarray], Path], value: float):
    for channel in (0, COUNT - 1):
        array = ARRAY.astype(np.float64)
        array[39, 29, channel] = value
        assert "0 and 1, or 0 and 255" in refusal(saved(array))
    if value != 255:  # a scale, where it stands alone
        array = EMPTY.astype(np.float64)
        array[0, 0, 3] = value
        assert "0 and 1" in refusal(saved(array))


def test_mixed_scales_and_probabilities_are_refused(saved: Callable[[np.ndarray], Path], rng: np.random.Generator):
    mixed = ARRAY.copy()
    mixed[..., 3] *= 255
    for array in (mixed, rng.random(ARRAY.shape)):
        assert "0 and 1, or 0 and 255" in refusal(saved(array))


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1)])
def test_exchanged_axes_are_named(saved: Callable[[np.ndarray], Path], axes: tuple[int, ...]):
    sentence = refusal(saved(np.ascontiguousarray(ARRAY.transpose(axes))))
    assert "its axes are exchanged" in sentence and PATTERN in sentence


@pytest.mark.parametrize(
    ("size", "advice"),
    [
        ((*SHAPE, 1), ", ".join(VERTEBRAE)),
        ((*SHAPE, COUNT + 2), ", ".join(VERTEBRAE)),
        ((41, 30, COUNT + 1), "it is the label of another film"),
        ((40, 29, COUNT + 1), "it is the label of another film"),
        ((1, 1), "it is the label of another film"),
    ],
)
def test_other_sizes_than_the_films(saved: Callable[[np.ndarray], Path], size: tuple[int, ...], advice: str):
    sentence = refusal(saved(np.zeros(size, dtype=np.uint8)))
    assert advice in sentence and PATTERN in sentence


def test_matlab_variables_that_are_missing_or_no_numbers(tmp_path: Path):
    path = tmp_path / "doe-jane.mat"
    assert KEY in refusal(save_mat(path, ARRAY, key="label"))
    for value in (ARRAY.astype(object), ARRAY * (1 + 1j), {"a": 1}):
        assert "numbers" in refusal(save_mat(path, value))
    for value in ("text", 1.0):
        refusal(save_mat(path, value))
    with h5py.File(path, "w") as file:
        file["label"] = ARRAY.T
    assert KEY in refusal(path)


@pytest.mark.parametrize("version", [1, 2])
def test_heads_of_npy_files_that_are_no_python(tmp_path: Path, version: int):
    for head in (b"{'descr': (", b"(" * 5000, b"'''", b"{\n  1", b"{1:" * 900, b"9" * 5000, b"\0" * 50):
        length = len(head).to_bytes(2 * version, "little")
        (tmp_path / "doe-jane.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + head)
        refusal(tmp_path / "doe-jane.npy")


def test_of_two_variables_of_one_name_the_one_that_is_read_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cells = save_mat(tmp_path / "cells.mat", ARRAY.astype(object)).read_bytes()
    plain = save_mat(tmp_path / "plain.mat", ARRAY).read_bytes()
    (tmp_path / "a.mat").write_bytes(plain + cells[128:])
    (tmp_path / "b.mat").write_bytes(cells + plain[128:])
    np.testing.assert_array_equal(read_label(tmp_path / "a.mat", SHAPE).masks, MASKS)
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_, **__: pytest.fail("cells were read"))
    assert "numbers" in refusal(tmp_path / "b.mat")


def test_pickles_are_never_opened(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "opened"),))

    np.save(tmp_path / "doe-jane.npy", np.full(ARRAY.shape, Bomb(), dtype=object), allow_pickle=True)
    assert "numbers" in refusal(tmp_path / "doe-jane.npy")
    assert not (tmp_path / "opened").exists()


def test_hdf5_links_out_of_the_file_are_not_followed(tmp_path: Path):
    save_mat73(other := tmp_path / "other.mat", ARRAY)
    (raw := tmp_path / "raw").write_bytes(ARRAY.T.tobytes())
    external = [(str(raw), 0, h5py.h5f.UNLIMITED)]
    for add in (
        lambda file: file.__setitem__(KEY, h5py.ExternalLink(str(other), KEY)),
        lambda file: file.create_dataset(KEY, ARRAY.T.shape, "u1", external=external),
        lambda file: file.create_group(KEY),
    ):
        with h5py.File(tmp_path / "doe-jane.mat", "w") as file:
            add(file)
        assert "a group or a link" in refusal(tmp_path / "doe-jane.mat")


def test_other_files_and_what_is_no_file(tmp_path: Path):
    for content in (b"", b"\0", b"\x89PNG", b"MATLAB 5.0 MAT-file", b"\x93NUMPY\x01\x00"):
        (tmp_path / "doe-jane.mat").write_bytes(content)
        refusal(tmp_path / "doe-jane.mat")
    os.mkfifo(tmp_path / "pipe.mat")
    for path in (tmp_path, tmp_path / "missing.mat", tmp_path / "pipe.mat"):
        assert "MATLAB, NumPy, PNG" in refusal(path)


def test_cut_short_anywhere(saved: Callable[[np.ndarray], Path], tmp_path: Path):
    content, path = saved(ARRAY).read_bytes(), tmp_path / "cut"
    for length in {*range(0, len(content), max(1, len(content) // 60)), len(content) - 1}:
        path.write_bytes(content[:length])
        with suppress(UnreadableLabel):
            np.testing.assert_array_equal(read_label(path, SHAPE).masks, MASKS)  # HDF5 may end in unused bytes


def test_an_array_by_eye():
    masks = np.zeros((COUNT, 2, 2), dtype=np.bool_)
    masks[0, 0, 0] = masks[-1, 1, 1] = True
    array = to_array(masks)
    assert array.dtype == np.uint8 and array.flags.c_contiguous
    first, last, background = (np.eye(len(CHANNELS))[k].tolist() for k in (0, -2, -1))
    assert array.tolist() == [[first, background], [background, last]]
    np.testing.assert_array_equal(to_array(masks.transpose(0, 2, 1)), array.transpose(1, 0, 2))


@pytest.mark.parametrize("write", [write_array, write_mat])
def test_what_is_written_is_read_by_us_and_others(tmp_path: Path, write: Any):
    for name in "ab":
        write(tmp_path / name, MASKS)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(read_label(tmp_path / "a", SHAPE).masks, MASKS)
    if write is write_mat:
        np.testing.assert_array_equal(scipy.io.loadmat(str(tmp_path / "a"), appendmat=False)[KEY], ARRAY)
        assert content.startswith(b"MATLAB 5.0 MAT-file") and content[124:128] == b"\x00\x01IM"
        assert b"Created on" not in content[:124] and b"Platform" not in content[:124]
    else:
        array = np.load(tmp_path / "a", allow_pickle=False)
        np.testing.assert_array_equal(array, ARRAY)
        assert array.dtype == np.uint8 and array.flags.c_contiguous
