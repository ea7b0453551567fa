"""dataset: films decoded once, split by film, and the same items whoever prepares them."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from small import GRID, simulate_films
from torch.utils.data import DataLoader

from spineseg.data import check
from spineseg.data.augment import AugmentConfig
from spineseg.data.cache import GridCache, bits_type, build_cache, cached, pack_bits, unpack_bits
from spineseg.data.dataset import FilmDataset
from spineseg.data.findings import FaultyFolder
from spineseg.film import Film
from spineseg.inference.grid import film_to_grid, masks_to_grid
from spineseg.io.folder import BadDataset, NoFilms, labelled_films, read_case, read_folder
from spineseg.io.labels import KEY, write_array
from spineseg.model.config import GridConfig
from spineseg.simulate import SimulateConfig, simulate_case


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small films with labels; not to be changed."""
    return simulate_films(tmp_path_factory.mktemp("films"), 5)


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    return Path(shutil.copytree(source, tmp_path / "films"))


@pytest.fixture(scope="module")
def cache(source: Path, tmp_path_factory: pytest.TempPathFactory) -> GridCache:
    return build_cache(labelled_films(source), GRID, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the films that were decoded, as it happens."""
    names: list[str] = []
    read_film = check.read_film

    def counting(path: Path) -> Film:
        names.append(path.stem)
        return read_film(path)

    monkeypatch.setattr(check, "read_film", counting)
    return names


def test_mat_comes_before_npy(folder: Path):
    write_array(folder / "label" / "S001-00000.npy", simulate_case(0, 0, SimulateConfig(rows=32)).masks)
    assert [files.label.suffix for files in labelled_films(folder) if files.label] == [".mat"] * 5


def test_a_folder_without_films_or_labels_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(NoFilms, match=r"^This folder has no img/ with films; name the folder that holds img/"):
        labelled_films(tmp_path)
    shutil.rmtree(folder / "label")
    with pytest.raises(BadDataset, match=r"there is no folder .*label; put the labels there, as <film>\.mat, \.npy, "):
        labelled_films(folder)


def test_films_count_by_content_and_lie_at_any_depth(folder: Path, tmp_path: Path):
    """Upper-case endings, none at all, subfolders with equal paths below img and label; a cache knows them apart."""
    names = [files.name for files in labelled_films(folder)]
    moved = {names[0]: "a/1", names[1]: "b/1"}
    for old, new in moved.items():
        for part, before, after in (("img", ".dcm", ".DCM"), ("label", ".mat", ".MAT")):
            (target := folder / part / f"{new}{after}").parent.mkdir(exist_ok=True)
            (folder / part / f"{old}{before}").rename(target)
    (folder / "img" / f"{names[2]}.dcm").rename(folder / "img" / names[2])
    found = read_folder(folder)
    assert [files.name for files in found.films] == [*names[2:], *moved.values()]
    assert all(files.label and files.root == folder for files in found.films) and found.left_out == found.alone == ()
    cache = build_cache(found.films, GRID, tmp_path / "cache")
    assert not np.array_equal(cache.images[-1], cache.images[-2])
    assert cached(found.films, GRID, tmp_path / "cache") is not None
    shutil.copy(folder / "img" / "b" / "1.DCM", folder / "img" / "a" / "1.DCM")
    assert cached(found.films, GRID, tmp_path / "cache") is None


def test_every_file_that_is_not_used_is_named(folder: Path):
    names = [files.name for files in labelled_films(folder)]
    shutil.copy(folder / "img" / f"{names[0]}.dcm", folder / "img" / f"{names[0]}.ima")
    (folder / "label" / f"{names[1]}.mat").unlink()
    shutil.make_archive(str(folder / "img" / "more"), "zip", folder / "label")
    (folder / "label" / "readme.txt").write_text("by two readers")
    (folder / "label" / ".DS_Store").touch()
    assert [str(finding) for finding in check.name_findings(read_folder(folder))] == [
        f"warning: {names[1]}: no label has the film’s name; it is not used",
        "error: img/more.zip: left out: a ZIP archive; unpack it",
        f"warning: img/{names[0]}.ima: left out: another film of the name {names[0]}",
        "warning: label/readme.txt: left out: a file without a label’s ending",
    ]


def test_films_are_decoded_once(folder: Path, tmp_path: Path, decoded: list[str]):
    films, seen = labelled_films(folder), []
    first = build_cache(films, GRID, tmp_path / "cache", progress=lambda it: (seen.append(k) or k for k in it))
    assert decoded == [files.name for files in films] == list(first.names)
    assert seen == [0, 1, 2, 3, 4]
    decoded.clear()
    second = build_cache(films, GRID, tmp_path / "cache")
    assert decoded == []
    assert np.array_equal(first.images, second.images) and np.array_equal(first.bits, second.bits)


def test_several_processes_decode_what_one_does(source: Path, tmp_path: Path):
    seen: list[int] = []
    films = labelled_films(source)
    alone = build_cache(films, GRID, tmp_path / "one")
    several = build_cache(
        films, GRID, tmp_path / "two", processes=2, progress=lambda it: (seen.append(k) or k for k in it)
    )
    assert seen == [0, 1, 2, 3, 4]
    assert np.array_equal(several.images, alone.images) and np.array_equal(several.bits, alone.bits)
    assert several.findings == alone.findings and several.names == alone.names


def test_time_of_change_grid_and_choice_of_films_matter(folder: Path, tmp_path: Path, decoded: list[str]):
    build_cache(labelled_films(folder), GRID, tmp_path / "cache")
    os.utime(folder / "label" / "S001-00001.mat", ns=(1, 1))
    build_cache(labelled_films(folder), GRID, tmp_path / "cache")
    assert len(decoded) == 10
    build_cache(labelled_films(folder)[:2], GRID, tmp_path / "cache")
    assert len(decoded) == 12
    build_cache(labelled_films(folder)[:2], GridConfig(rows=64, columns=64), tmp_path / "cache")
    assert len(decoded) == 14


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interruption_leaves_no_half_cache(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    read_film = check.read_film

    def failing(path: Path) -> Film:
        if path.stem.endswith("3"):
            raise error
        return read_film(path)

    monkeypatch.setattr(check, "read_film", failing)
    with pytest.raises(type(error)):
        build_cache(labelled_films(source), GRID, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setattr(check, "read_film", read_film)
    assert len(build_cache(labelled_films(source), GRID, tmp_path / "cache").names) == 5


def test_two_that_build_the_same_cache_do_not_disturb_each_other(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The second begins and ends while the first is at work."""
    read_film, begun, inner = check.read_film, list[str](), list[GridCache]()

    def racing(path: Path) -> Film:
        begun.append(path.stem)
        if len(begun) == 3:
            inner.append(build_cache(labelled_films(source), GRID, tmp_path))
        return read_film(path)

    monkeypatch.setattr(check, "read_film", racing)
    outer = build_cache(labelled_films(source), GRID, tmp_path)
    assert len(begun) == 10
    assert np.array_equal(outer.images, inner[0].images) and np.array_equal(outer.bits, inner[0].bits)
    assert [path.suffix for path in tmp_path.iterdir()] == [""]


def test_a_cache_travels_by_name(cache: GridCache):
    sent = pickle.dumps(films_of(cache))
    assert len(sent) < 3000 < cache.images.nbytes
    arrived = pickle.loads(sent)
    assert torch.equal(arrived[1][0], films_of(cache)[1][0])
    assert arrived.names == films_of(cache).names


def test_a_cache_is_opened_and_never_made_by_who_only_looks(folder: Path, tmp_path: Path, decoded: list[str]):
    films = labelled_films(folder)
    assert cached(films, GRID, tmp_path) is None
    made = build_cache(films, GRID, tmp_path)
    decoded.clear()
    opened = cached(films, GRID, tmp_path)
    assert opened is not None and np.array_equal(opened.bits, made.bits)
    assert cached(films[:2], GRID, tmp_path) is None
    assert decoded == []


def test_caches_of_films_that_changed_are_removed(folder: Path, tmp_path: Path):
    other = GridConfig(rows=64, columns=64)
    for grid in (GRID, other):
        build_cache(labelled_films(folder), grid, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2, "another grid of the same films stays"
    build_cache(labelled_films(folder)[:2], GRID, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3, "so does another choice of them"
    os.utime(folder / "label" / "S001-00004.mat", ns=(1, 1))
    build_cache(labelled_films(folder), GRID, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2, "the two without the changed film, and the new one"
    (folder / "img" / "S001-00000.dcm").unlink()
    build_cache(labelled_films(folder), GRID, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_what_was_never_finished_is_removed_after_a_day(folder: Path, tmp_path: Path):
    old, new, earlier = (f"{k}123456789abcdef" + end for k, end in enumerate((".0a.partial", ".1b.partial", "")))
    for name in (old, new, earlier, "mine", "mine.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "images.npy").write_bytes(b"half")
    for path in tmp_path.rglob("*"):
        if not path.is_relative_to(folder) and not path.is_relative_to(tmp_path / new):
            os.utime(path, (1, 1))
    cache = build_cache(labelled_films(folder), GRID, tmp_path)
    left = {path.name for path in tmp_path.iterdir()} - {folder.name}
    assert {new, "mine", "mine.partial"} < left and len(left) == 4, "and the one that was made"
    assert len(cache.names) == 5


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_label_is_named_and_nothing_stays(folder: Path, tmp_path: Path, processes: int):
    films = labelled_films(folder)
    rows, columns = read_case(films[1]).film.shape
    stored = np.zeros((rows, columns, 7), np.uint8)
    stored[4:9, 4:9, 0] = 2
    scipy.io.savemat(folder / "label" / "S001-00001.mat", {KEY: stored})
    with pytest.raises(FaultyFolder, match=r"^S001-00001: the label has other values than 0 and 1, .*1 error in"):
        build_cache(labelled_films(folder), GRID, tmp_path / "cache", processes=processes)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_cache_is_the_film_on_the_grid(source: Path, cache: GridCache):
    for index, files in enumerate(labelled_films(source)):
        case = read_case(files)
        image, fit = film_to_grid(case.film, GRID)
        inside = fit.inside()
        stored = cache.film(index)
        assert np.array_equal(stored.inside, inside)
        assert np.array_equal(stored.masks, masks_to_grid(case.masks, fit) > 0.5)
        low, high = image[inside].min(), image[inside].max()
        assert np.abs(stored.image - (image - low) / (high - low))[inside].max() < 1e-4
        assert not stored.image[~inside].any()
        assert stored.masks.any((1, 2)).all()


@pytest.mark.parametrize(
    ("planes", "kind"), [(1, "uint8"), (8, "uint8"), (9, "uint16"), (17, "uint32"), (25, "uint32")]
)
def test_bits_hold_as_many_vertebrae_as_there_are(planes: int, kind: str, rng: np.random.Generator):
    """All of a spine's 24 above the sacrum, and one bit for the film."""
    masks = rng.random((planes, 5, 4)) > 0.5
    packed = pack_bits(masks)
    assert packed.dtype == bits_type(planes) == kind
    assert np.array_equal(unpack_bits(packed, planes), masks)


def films_of(cache: GridCache, **changes: object) -> FilmDataset:
    return FilmDataset(cache, [0, 2, 3, 4], GRID, **{"augmentation": AugmentConfig(), "seed": 5, **changes})  # type: ignore[arg-type]


def test_without_changes_the_targets_are_the_label(cache: GridCache):
    _, targets = films_of(cache, augmentation=None)[1]
    assert np.array_equal(targets.numpy(), cache.film(2).masks)
    _, pooled = films_of(cache, augmentation=None, stride=2)[1]
    assert np.allclose(pooled.numpy(), cache.film(2).masks.reshape(6, 32, 2, 24, 2).mean((2, 4)))


@pytest.mark.parametrize("augmentation", [None, AugmentConfig()])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_seventh_target_is_the_complement(cache: GridCache, augmentation: AugmentConfig | None, stride: int):
    for _, targets in films_of(cache, augmentation=augmentation, stride=stride, out_channels=7):
        assert targets.shape[0] == 7
        assert torch.allclose(targets[6], 1 - targets[:6].sum(0).clamp(max=1), atol=1e-6)
        assert 0 < targets[6].mean() < 1


def test_a_transform_of_one_s_own_comes_last(cache: GridCache):
    """After augmentation and before normalisation; its random numbers follow from seed, epoch and film."""
    drawn: list[float] = []

    def turned(image: np.ndarray, targets: np.ndarray, inside: np.ndarray, rng: np.random.Generator):
        drawn.append(rng.random())
        return image[:, ::-1], targets[:, :, ::-1], inside[:, ::-1]

    films, plain = films_of(cache, out_channels=7, transform=turned), films_of(cache, out_channels=7)
    for k in range(4):
        (image, targets), (before, masks) = films[k], plain[k]
        assert torch.allclose(image[0], before[0].flip(1), atol=0.05)  # percentiles are of a sample
        assert torch.equal(targets, masks.flip(2))
    films.epoch = 1
    assert films[3] and len(set(drawn)) == 5
    films.epoch = 0
    assert films[3] and drawn[5] == drawn[3]


def test_changes_follow_from_seed_epoch_and_film(cache: GridCache):
    films = films_of(cache)
    first = films[1][0]
    assert torch.equal(films[1][0], first)
    assert not torch.equal(films[0][0], first)
    films.epoch = 1
    assert not torch.equal(films[1][0], first)
    films.epoch = 0
    assert torch.equal(films[1][0], first)
    assert not torch.equal(films_of(cache, seed=6)[1][0], first)
    alone = FilmDataset(cache, [2], GRID, augmentation=AugmentConfig(), seed=5)
    assert torch.equal(alone[0][0], first)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_number_of_workers_changes_no_item(cache: GridCache):
    epochs = []
    for workers in (0, 1, 2):
        films = films_of(cache, stride=2)
        batches = DataLoader(films, batch_size=2, num_workers=workers)
        for films.epoch in (0, 1):
            epochs.append(list(batches))
    for epoch in (0, 1):
        for other in epochs[epoch + 2 :: 2]:
            for (image, targets), (image_too, targets_too) in zip(epochs[epoch], other, strict=True):
                assert torch.equal(image, image_too) and torch.equal(targets, targets_too)
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])


def test_odd_labels_are_remarked_on_and_kept(folder: Path, tmp_path: Path):
    """L5 and S1 overlap in 6 pixels; the seventh channel, all 0, disagrees wherever there is background."""
    files = labelled_films(folder)[1]
    rows, columns = read_case(files).film.shape
    array = np.zeros((rows, columns, 7), np.uint8)
    array[10:20, 5:11, 4] = array[19:30, 5:11, 5] = 1
    assert files.label is not None
    files.label.unlink()
    np.save(files.label.with_suffix(".npy"), array)
    for _ in range(2):  # made, then opened
        cache = build_cache(labelled_films(folder), GRID, tmp_path)
        assert {(f.film, f.severity) for f in cache.findings} == {(files.name, "warning")}
        said = {finding.kind: finding.sentence for finding in cache.findings}
        assert "got 6 pixels in both; they are kept in each" in said["overlap"]
        assert f"got another in {rows * columns - 10 * 6 - 11 * 6 + 6} pixels" in said["background"]
