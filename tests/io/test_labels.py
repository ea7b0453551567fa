from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from spineseg.film import Masks
from spineseg.io.labels import KEY, UnreadableLabel, read_label, to_array, write_array, write_mat

SHAPE = (40, 30)


@pytest.fixture
def masks() -> Masks:
    """Six bars of 5 x 10 px, one below the other; S1 covers L5's last row: 10 px in both."""
    masks = np.zeros((6, *SHAPE), dtype=np.bool_)
    for channel in range(6):
        top = 6 * channel + 2 - (2 if channel == 5 else 0)
        masks[channel, top : top + 5, 10:20] = True
    return masks


def stored(masks: Masks) -> np.ndarray:
    """The file's array, built without the code under test."""
    return np.dstack([*masks, ~masks.any(axis=0)]).astype(np.uint8)


def save_mat(path: Path, array: Any, key: str = KEY) -> Path:
    scipy.io.savemat(path, {key: array})
    return path


def save_mat73(path: Path, array: np.ndarray, **attributes: Any) -> Path:
    """As MATLAB does it: 512 bytes of its own, then HDF5 with the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        dataset = file.create_dataset(KEY, data=array.T, compression="gzip")
        dataset.attrs["MATLAB_class"] = np.bytes_("logical" if array.dtype == np.bool_ else str(array.dtype))
        for name, value in attributes.items():
            dataset.attrs[name] = value
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\0\2IM")
    return path


def save_npy(path: Path, array: np.ndarray) -> Path:
    with open(path, "wb") as stream:
        np.save(stream, array)
    return path


SAVERS = {"mat v5": save_mat, "mat v7.3": save_mat73, "npy": save_npy}


@pytest.fixture(params=SAVERS)
def save(request: pytest.FixtureRequest):
    return SAVERS[request.param]


def refusal(path: Path, shape: tuple[int, int] = SHAPE) -> str:
    with pytest.raises(UnreadableLabel) as caught:
        read_label(path, shape)
    sentence = str(caught.value)
    assert sentence.startswith("expected ") and ", got " in sentence and "; " in sentence
    assert str(path) not in sentence and path.name not in sentence
    return sentence


def test_an_array_by_eye():
    masks = np.zeros((6, 2, 2), dtype=np.bool_)
    masks[0, 0, 0] = masks[5, 1, 1] = True
    array = to_array(masks)
    assert array.dtype == np.uint8 and array.flags.c_contiguous
    assert array.tolist() == [
        [[1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]],
        [[0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0]],
    ]


def test_array_of_masks_that_are_a_view(masks: Masks):
    view = np.ascontiguousarray(masks.transpose(0, 2, 1)).transpose(0, 2, 1)
    np.testing.assert_array_equal(to_array(view), stored(masks))


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("bool", 1), *((d, s) for d in ("uint8", "uint16", "int16", "int32", "float32", "float64") for s in (1, 255))],
)
def test_every_type_and_scale_becomes_true_and_false(tmp_path: Path, masks: Masks, save: Any, dtype: str, scale: int):
    label = read_label(save(tmp_path / "doe-jane", (stored(masks) * scale).astype(dtype)), SHAPE)
    assert label.masks.dtype == np.bool_
    np.testing.assert_array_equal(label.masks, masks)
    assert (label.overlap_px, label.background_disagreement_px) == (10, 0)


def test_matlab_logical_of_v73(tmp_path: Path, masks: Masks):
    path = save_mat73(tmp_path / "doe-jane.mat", stored(masks), MATLAB_class=np.bytes_("logical"), MATLAB_int_decode=1)
    np.testing.assert_array_equal(read_label(path, SHAPE).masks, masks)


@pytest.mark.parametrize("write", [write_array, write_mat])
def test_written_labels_are_read_back(tmp_path: Path, masks: Masks, write: Any):
    write(tmp_path / "doe-jane", masks)
    label = read_label(tmp_path / "doe-jane", SHAPE)
    np.testing.assert_array_equal(label.masks, masks)
    assert (label.overlap_px, label.background_disagreement_px) == (10, 0)


@pytest.mark.parametrize("write", [write_array, write_mat])
def test_same_masks_same_bytes(tmp_path: Path, masks: Masks, write: Any):
    write(tmp_path / "a", masks)
    time.sleep(1.1 if write is write_mat else 0)  # SciPy writes the second into its header
    write(tmp_path / "b", masks)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_others_read_what_is_written(tmp_path: Path, masks: Masks):
    write_mat(tmp_path / "doe-jane.mat", masks)
    write_array(tmp_path / "doe-jane.npy", masks)
    np.testing.assert_array_equal(scipy.io.loadmat(tmp_path / "doe-jane.mat")[KEY], stored(masks))
    array = np.load(tmp_path / "doe-jane.npy", allow_pickle=False)
    np.testing.assert_array_equal(array, stored(masks))
    assert array.dtype == np.uint8 and array.flags.c_contiguous


def test_written_header_is_matlabs(tmp_path: Path, masks: Masks):
    write_mat(tmp_path / "doe-jane.mat", masks)
    head = (tmp_path / "doe-jane.mat").read_bytes()[:128]
    assert head.startswith(b"MATLAB 5.0 MAT-file") and head[124:] == b"\x00\x01IM"
    assert b"Created on" not in head and b"Platform" not in head


@pytest.mark.parametrize("write", [write_array, write_mat])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, masks: Masks, write: Any, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "doe-jane"
    path.write_bytes(b"old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        write(path, masks)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["doe-jane"]


def test_background_of_the_file_is_not_used(tmp_path: Path, masks: Masks, save: Any):
    array = stored(masks)
    array[..., 6] = array[..., 5]  # the report copied channel 6 there
    label = read_label(save(tmp_path / "doe-jane", array), SHAPE)
    np.testing.assert_array_equal(label.masks, masks)
    union = int(masks.any(axis=0).sum())
    assert label.background_disagreement_px == 40 * 30 - union + int(masks[5].sum())


def test_a_seventh_channel_of_one_minus_the_sum_is_reported_not_refused(tmp_path: Path, masks: Masks, save: Any):
    array = stored(masks).astype(np.int16)
    array[..., 6] = 1 - array[..., :6].sum(axis=2)  # -1 in the overlap
    for dtype in (np.int16, np.uint8, np.float32):  # as uint8: 255
        label = read_label(save(tmp_path / "doe-jane", array.astype(dtype)), SHAPE)
        np.testing.assert_array_equal(label.masks, masks)
        assert label.background_disagreement_px == 10


def test_a_seventh_channel_of_another_scale_or_nan_is_reported_not_refused(tmp_path: Path, masks: Masks, save: Any):
    array = stored(masks).astype(np.float64)
    background = int(array[..., 6].sum())
    array[..., 6] *= 255
    assert read_label(save(tmp_path / "doe-jane", array), SHAPE).background_disagreement_px == background
    array[..., 6] = np.nan
    assert read_label(save(tmp_path / "doe-jane", array), SHAPE).background_disagreement_px == 40 * 30


@pytest.mark.parametrize("one", [1, 255])
def test_a_film_without_any_vertebra(tmp_path: Path, one: int, save: Any):
    array = np.zeros((*SHAPE, 7), dtype=np.uint8)
    array[..., 6] = one
    label = read_label(save(tmp_path / "doe-jane", array), SHAPE)
    assert not label.masks.any() and label.background_disagreement_px == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1, 0.5, 0.999, 1.5, 2, 255, 254])
@pytest.mark.parametrize("channel", [0, 5])
def test_values_other_than_two_are_refused(tmp_path: Path, masks: Masks, save: Any, value: float, channel: int):
    array = stored(masks).astype(np.float64)
    array[39, 29, channel] = value
    assert "0 and 1 or of 0 and 255" in refusal(save(tmp_path / "doe-jane", array))


@pytest.mark.parametrize("value", [-1, -255, 2, 7])
def test_one_odd_value_in_an_empty_label_is_refused(tmp_path: Path, save: Any, value: int):
    array = np.zeros((*SHAPE, 7), dtype=np.int16)
    array[0, 0, 3] = value
    assert "0 and 1" in refusal(save(tmp_path / "doe-jane", array))


def test_mixed_scales_are_refused(tmp_path: Path, masks: Masks, save: Any):
    array = stored(masks)
    array[..., 3] *= 255
    assert "0 and 1 or of 0 and 255" in refusal(save(tmp_path / "doe-jane", array))


def test_probabilities_are_refused(tmp_path: Path, save: Any, rng: np.random.Generator):
    assert "0 and 1" in refusal(save(tmp_path / "doe-jane", rng.random((*SHAPE, 7))))


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1)])
def test_exchanged_axes_are_named(tmp_path: Path, masks: Masks, save: Any, axes: tuple[int, ...]):
    sentence = refusal(save(tmp_path / "doe-jane", np.ascontiguousarray(stored(masks).transpose(axes))))
    assert "the axes are exchanged" in sentence and "40 x 30 x 7" in sentence


@pytest.mark.parametrize("channels", [1, 6, 8])
def test_wrong_number_of_channels(tmp_path: Path, save: Any, channels: int):
    sentence = refusal(save(tmp_path / "doe-jane", np.zeros((*SHAPE, channels), dtype=np.uint8)))
    assert "7" in sentence and ("L1, L2, L3, L4, L5, S1" in sentence or "40 x 30" in sentence)


@pytest.mark.parametrize("size", [(41, 30, 7), (40, 29, 7), (40, 30), (1, 1)])
def test_other_sizes_than_the_films(tmp_path: Path, save: Any, size: tuple[int, ...]):
    sentence = refusal(save(tmp_path / "doe-jane", np.zeros(size, dtype=np.uint8)))
    assert "got " + " x ".join(map(str, size)) in sentence


def test_missing_key(tmp_path: Path, masks: Masks):
    assert KEY in refusal(save_mat(tmp_path / "doe-jane.mat", stored(masks), key="label"))
    with h5py.File(tmp_path / "y.mat", "w") as file:
        file["label"] = stored(masks).T
    assert KEY in refusal(tmp_path / "y.mat")


@pytest.mark.parametrize("value", ["text", np.array([[1, "a"]], dtype=object), {"a": 1}, 1 + 2j])
def test_matlab_values_that_are_no_numbers(tmp_path: Path, value: Any):
    refusal(save_mat(tmp_path / "doe-jane.mat", value))


def test_matlab_kinds_of_the_right_size_that_are_no_numbers(tmp_path: Path, masks: Masks):
    assert "numbers" in refusal(save_mat(tmp_path / "cell.mat", stored(masks).astype(object)))
    assert "numbers" in refusal(save_mat(tmp_path / "complex.mat", stored(masks) * (1 + 1j)))


@pytest.mark.parametrize(
    "head", [b"{'descr': (", b"(" * 5000, b"'''", b"{\n  1", b"{1:" * 900, b"9" * 5000, b"\0" * 50]
)
@pytest.mark.parametrize("version", [1, 2])
def test_heads_of_npy_files_that_are_no_python(tmp_path: Path, head: bytes, version: int):
    length = len(head).to_bytes(2 * version, "little")
    (tmp_path / "doe-jane.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + head)
    refusal(tmp_path / "doe-jane.npy")


def test_of_two_variables_of_one_name_the_one_that_is_read_is_checked(
    tmp_path: Path, masks: Masks, monkeypatch: pytest.MonkeyPatch
):
    cells = save_mat(tmp_path / "cells.mat", stored(masks).astype(object)).read_bytes()
    plain = save_mat(tmp_path / "plain.mat", stored(masks)).read_bytes()
    (tmp_path / "a.mat").write_bytes(plain + cells[128:])
    (tmp_path / "b.mat").write_bytes(cells + plain[128:])
    np.testing.assert_array_equal(read_label(tmp_path / "a.mat", SHAPE).masks, masks)
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_, **__: pytest.fail("cells were read"))
    assert "numbers" in refusal(tmp_path / "b.mat")


def test_pickles_are_never_opened(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "opened"),))

    path = tmp_path / "doe-jane.npy"
    array = np.empty((*SHAPE, 7), dtype=object)
    array[...] = 0
    array[0, 0, 0] = Bomb()
    np.save(path, array, allow_pickle=True)
    assert "numbers" in refusal(path)
    assert not (tmp_path / "opened").exists()


def test_hdf5_links_out_of_the_file_are_not_followed(tmp_path: Path, masks: Masks):
    save_mat73(tmp_path / "other.mat", stored(masks))
    with h5py.File(tmp_path / "doe-jane.mat", "w") as file:
        file[KEY] = h5py.ExternalLink(str(tmp_path / "other.mat"), KEY)
    assert "link" in refusal(tmp_path / "doe-jane.mat")
    (tmp_path / "raw").write_bytes(stored(masks).T.tobytes())
    with h5py.File(tmp_path / "y.mat", "w") as file:
        file.create_dataset(KEY, (7, 30, 40), "u1", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
    assert "link" in refusal(tmp_path / "y.mat")
    with h5py.File(tmp_path / "z.mat", "w") as file:
        file.create_group(KEY)
    assert "group" in refusal(tmp_path / "z.mat")


@pytest.mark.parametrize("content", [b"", b"\0", b"\x89PNG", b"MATLAB 5.0 MAT-file", b"\x93NUMPY\x01\x00", b"x" * 999])
def test_other_files(tmp_path: Path, content: bytes):
    (tmp_path / "doe-jane.mat").write_bytes(content)
    refusal(tmp_path / "doe-jane.mat")


def test_what_is_no_file(tmp_path: Path):
    refusal(tmp_path)
    refusal(tmp_path / "missing.mat")
    os.mkfifo(tmp_path / "pipe.mat")
    refusal(tmp_path / "pipe.mat")


def test_cut_short_anywhere(tmp_path: Path, masks: Masks, save: Any):
    content = save(tmp_path / "whole", stored(masks)).read_bytes()
    path = tmp_path / "cut"
    for length in {*range(0, len(content), max(1, len(content) // 60)), len(content) - 1}:
        path.write_bytes(content[:length])
        try:
            label = read_label(path, SHAPE)
        except UnreadableLabel:
            continue
        np.testing.assert_array_equal(label.masks, masks)  # HDF5 may end in bytes that nobody needs


def test_real_labels(shared: Path):
    paths = sorted(shared.glob("films/label/*.mat"))
    assert len(paths) == 11
    for path in paths:
        array = scipy.io.loadmat(path)[KEY]
        label = read_label(path, array.shape[:2])
        np.testing.assert_array_equal(label.masks, array[..., :6].transpose(2, 0, 1) == 1)
        assert label.overlap_px == (array[..., :6].sum(axis=2) > 1).sum()
        assert label.background_disagreement_px == 0
