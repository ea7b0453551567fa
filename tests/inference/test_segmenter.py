"""segmenter: film in, six disjoint masks of the film's own size out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import GRID, write_checkpoint

import spineseg.inference.segmenter as segmenters
from spineseg.evaluation.metrics import dice
from spineseg.film import Case, Film
from spineseg.inference.grid import film_to_grid, masks_to_grid
from spineseg.inference.onnx_network import OnnxNetwork
from spineseg.inference.prediction import Prediction
from spineseg.inference.segmenter import MissingDevice, Segmenter, pick_device
from spineseg.inference.torch_network import TorchNetwork
from spineseg.inference.verdict import CHECK, NOT_LUMBAR, RELIABLE, UPSIDE_DOWN, traces
from spineseg.inference.views import ONE_VIEW, VIEWS, bone_of
from spineseg.io.films import read_film
from spineseg.model.architectures import build_network
from spineseg.model.card import Card, Decoder, read_card
from spineseg.model.checkpoint import load_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.unet import UNet
from spineseg.simulate import SimulateConfig, simulate_case

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZES = ((97, 131), (300, 65), (64, 64))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    write_checkpoint(path, UNetConfig(features=(6, 8, 8), prior=0.5), contrast=20, decoder="none")
    return path


@pytest.fixture(scope="module")
def segmenter(checkpoint: Path) -> Segmenter:
    return Segmenter.load(checkpoint, "cpu")


@pytest.fixture(scope="module")
def films() -> list[Film]:
    rng = np.random.default_rng(0)
    return [Film(rng.uniform(0, 4095, size).astype(np.float32)) for size in SIZES]


def same(a: Prediction, b: Prediction) -> bool:
    alike = np.array_equal(a.masks, b.masks) and np.array_equal(a.probabilities, b.probabilities)
    return alike and (a.fit, a.levels, a.device) == (b.fit, b.levels, b.device)


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_a_prediction_has_the_shapes_and_values_that_it_promises(segmenter: Segmenter, films: list[Film], index: int):
    film, prediction = films[index], segmenter(films[index])
    assert prediction.masks.shape == (6, *film.shape) and prediction.masks.dtype == bool
    assert prediction.masks.any() and prediction.masks.sum(0).max() == 1
    assert prediction.probabilities.shape == (6, 64, 48)
    assert 0 <= prediction.probabilities.min() < 0.4 < 0.6 < prediction.probabilities.max() <= 1
    assert (prediction.fit.film_rows, prediction.fit.film_columns) == film.shape
    assert prediction.seconds > 0 and prediction.device == "cpu"
    assert (segmenter.name, segmenter.device, segmenter.card.grid) == ("tiny", "cpu", GRID)


def test_neither_other_films_nor_loading_again_changes_an_answer(
    checkpoint: Path, segmenter: Segmenter, films: list[Film]
):
    alone, again = [segmenter(film) for film in films], Segmenter.load(str(checkpoint), "cpu")
    for film, once in zip(reversed(films), reversed(alone), strict=True):
        assert same(again(film), once)


def test_a_film_is_seen_in_several_views_unless_the_card_has_no_decoder(
    segmenter: Segmenter, films: list[Film], monkeypatch: pytest.MonkeyPatch
):
    network, card, seen = segmenter._network, segmenter.card, []

    class Counting(OnnxNetwork):
        """The same network, which counts."""

        def __init__(self) -> None: ...

        def __call__(self, channels: np.ndarray) -> np.ndarray:
            seen.append(channels)
            return network(channels)

    ordered, predictions = replace(card, decoder="ordered"), []
    for chosen, views, count in ((card, None, 1), (ordered, ONE_VIEW, 1), (ordered, None, len(VIEWS))):
        seen.clear()
        predictions.append(Segmenter(Counting(), chosen, views)(films[0].as_told(invert=False)).probabilities)
        assert len(seen) == count
    raw, once, several = predictions
    assert np.array_equal(raw, once) and not np.array_equal(once, several)


def test_a_mirrored_film_gets_the_mirrored_answer(segmenter: Segmenter, films: list[Film]):
    several, film = Segmenter(segmenter._network, segmenter.card, VIEWS), films[0]
    mirrored = several(Film(np.ascontiguousarray(film.image[:, ::-1]), film.spacing))
    assert np.allclose(mirrored.probabilities[:, :, ::-1], several(film).probabilities, atol=0.02)


def test_onnx_runtime_reports_to_nobody_and_writes_nothing(tmp_path: Path):
    script = "from spineseg.inference.segmenter import Segmenter; Segmenter.load(device='cpu')"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir())


def test_the_published_weights_are_the_default():
    assert Segmenter.load(device="cpu").name == "spineseg"


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == pick_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == "cuda" and pick_device("cpu") == "cpu"


def test_the_processor_needs_no_torch(checkpoint: Path):
    """A film is segmented before torch, which takes more than a second to load, is needed by anything."""
    code = f"""
import sys
import numpy as np
from spineseg import Film, Segmenter
Segmenter.load({str(checkpoint)!r}, "cpu")(Film(np.random.default_rng(0).uniform(0, 99, (90, 70)).astype("f4")))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_torch_and_onnx_runtime_answer_alike(checkpoint: Path, segmenter: Segmenter, films: list[Film]):
    in_torch = Segmenter(TorchNetwork(*load_checkpoint(checkpoint)), segmenter.card)
    for film in films:
        one, other = segmenter(film), in_torch(film)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
        assert (one.masks != other.masks).mean() < 1e-3, "a pixel at most that lies on the threshold"


NO_MPS = pytest.param("mps", marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="has MPS"))


@pytest.mark.parametrize("wish", ["cuda:99", NO_MPS, "gpu", ""])
def test_a_device_that_is_not_there(checkpoint: Path, wish: str):
    with pytest.raises(MissingDevice, match=rf"^expected a device of this machine, got {wish}; use auto or cpu$"):
        Segmenter.load(checkpoint, wish)


@pytest.fixture(scope="module")
def case() -> Case:
    return simulate_case(1, 0, SimulateConfig(rows=700, crop_probability=0.0))


WITH_MARGINS = [("ordered", RELIABLE, 0), ("none", CHECK, 0), ("ordered", RELIABLE, 900)]


@pytest.mark.parametrize(("decoder", "verdict", "around"), WITH_MARGINS)
def test_a_network_that_knows_gives_the_truth_back(
    case: Case, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, decoder: Decoder, verdict: str, around: int
):
    """Grid, decoder and the way back to the film lose next to nothing, at the default grid.

    Nor does a second look, where the film is small in the picture: `around` it lie so many pixels of something else.
    """
    inner = np.pad(case.masks, ((0, 0), (around, around), (around, around)))
    image = rng.uniform(0, float(case.film.image.max()), inner.shape[1:]).astype(np.float32)
    image[around : image.shape[0] - around, around : image.shape[1] - around] = case.film.image
    fits, config = [], UNetConfig(features=(4, 6))
    monkeypatch.setattr(f"{segmenters.__name__}.film_to_grid", lambda *at: fits.append(film_to_grid(*at)) or fits[-1])
    card = Card("oracle", GridConfig(), config, decoder)
    segmenter = Segmenter(TorchNetwork(UNet(config), card), card)
    monkeypatch.setattr(segmenter, "_look", lambda *_: (masks_to_grid(inner, fits[-1][1]), "cpu", float))
    prediction = segmenter(Film(image, polarity_known=True))
    assert prediction.levels.verdict == verdict
    assert dice(prediction.masks, inner).min() > 0.96
    assert len(fits) == (2 if around else 1) and prediction.fit is fits[-1][1]


def test_a_second_look_at_which_bone_is_vague_turns_no_film_away(case: Case, monkeypatch: pytest.MonkeyPatch):
    masks = np.pad(case.masks, ((0, 0), (900, 900), (900, 900)))
    image = np.random.default_rng(1).uniform(0, 4095, masks.shape[1:]).astype(np.float32)
    fits, config = [], UNetConfig(features=(4, 6))
    monkeypatch.setattr(f"{segmenters.__name__}.film_to_grid", lambda *at: fits.append(film_to_grid(*at)) or fits[-1])
    card = Card("oracle", GridConfig(), config, most_traces=0.47)
    segmenter = Segmenter(TorchNetwork(UNet(config), card), card)

    def look(*_: object) -> tuple[np.ndarray, str, Callable[[], float]]:
        """The truth, and at the second look as much of the grid again with traces of bone."""
        found = masks_to_grid(masks, fits[-1][1])
        found[0, :, -150:] += np.float32(0.2 * (len(fits) == 2))
        return found * np.float32(0.98), "cpu", float

    monkeypatch.setattr(segmenter, "_look", look)
    prediction = segmenter(Film(image, polarity_known=True))
    assert traces(bone_of(prediction.probabilities)) > 0.47
    assert prediction.fit is fits[1][1] and prediction.levels.verdict == RELIABLE


@pytest.mark.parametrize(("turned", "verdict", "reasons"), [(0.9, RELIABLE, ()), (1.0, CHECK, (UPSIDE_DOWN,))])
def test_a_film_of_which_the_network_is_surer_upside_down_is_to_be_checked(
    case: Case, monkeypatch: pytest.MonkeyPatch, turned: float, verdict: str, reasons: tuple[str, ...]
):
    config = UNetConfig(features=(4, 6))
    card = Card("oracle", GridConfig(), config, most_traces=0.47)
    segmenter, found = Segmenter(TorchNetwork(UNet(config), card), card), film_to_grid(case.film, card.grid)[1]
    truth = masks_to_grid(case.masks, found)

    monkeypatch.setattr(segmenter, "_look", lambda *_: (truth * np.float32(0.95), "cpu", lambda: turned))
    levels = segmenter(replace(case.film, polarity_known=True)).levels
    assert (levels.verdict, levels.reasons) == (verdict, reasons)


@pytest.mark.parametrize("name", ["1-pelvis-in-view", "2-leaning"])
def test_an_example_upside_down_is_not_relied_on(name: str):
    segmenter, film = Segmenter.load(device="cpu"), read_film(EXAMPLES / f"{name}.dcm")
    assert segmenter(film).levels.verdict == RELIABLE
    for axes in (0, (0, 1)):
        turned = replace(film, image=np.ascontiguousarray(np.flip(film.image, axes)))
        assert segmenter(turned).levels.verdict != RELIABLE


@pytest.mark.parametrize(("rows", "columns", "aspect"), [(10_000, 64, 10.0), (64, 10_000, 0.1), (1, 500, 1.0)])
def test_a_film_thinner_than_a_pixel_of_the_grid_shows_no_spine(rows: int, columns: int, aspect: float):
    image = np.random.default_rng(2).uniform(0, 4095, (rows, columns)).astype(np.float32)
    prediction = Segmenter.load(device="cpu")(Film(image, aspect=aspect))
    assert prediction.levels.verdict == NOT_LUMBAR
    assert prediction.visible == (slice(0, rows), slice(0, columns))


def test_a_network_on_patches_answers_on_the_whole_grid(case: Case):
    """Its logits, at half the grid's size, are enlarged without a shift: a step in the film stays where it is."""
    config = UNetConfig(features=(4, 6))
    step = torch.full((1, 6, 32, 24), -8.0)
    step[..., 12:] = 8.0
    network, card = UNet(config), Card("step", GRID, config)
    network.forward = lambda _: step  # type: ignore[method-assign]
    probabilities = Segmenter(TorchNetwork(network, card), card, ONE_VIEW)(case.film).probabilities
    assert (probabilities[..., :24] < 0.5).all() and (probabilities[..., 24:] > 0.5).all()


@pytest.mark.parametrize("architecture", ["unet", "my_networks:quarter"])
def test_without_memory_on_the_device_the_cpu_does_it_and_says_so(
    films: list[Film], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, architecture: str
):
    config, tried = UNetConfig(features=(4, 6), prior=0.5), []
    card = Card("a", GRID, config, "none", architecture=architecture)
    network = TorchNetwork(build_network(architecture, config), card)
    expected, run = Segmenter(network, card)(films[0]), TorchNetwork.__call__

    def without_memory(network: TorchNetwork, channels: np.ndarray) -> np.ndarray:
        tried.append(network.device)
        if network.device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return run(network, channels)

    monkeypatch.setattr(TorchNetwork, "__call__", without_memory)
    network.device = "cuda:0"
    segmenter = Segmenter(network, card)
    prediction = segmenter(films[0])
    assert tried == ["cuda:0", "cpu"]
    assert prediction.device == "cpu" and segmenter.device == "cuda:0"
    assert same(prediction, expected)
    (record,) = caplog.records
    assert record.getMessage() == "cuda:0 has no memory left for a film; it is segmented on the CPU"


def test_without_memory_on_the_cpu_nothing_is_tried_again(
    checkpoint: Path, films: list[Film], monkeypatch: pytest.MonkeyPatch
):
    def without_memory(*_: object) -> np.ndarray:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(TorchNetwork, "__call__", without_memory)
    network = TorchNetwork(*load_checkpoint(checkpoint))
    with pytest.raises(torch.OutOfMemoryError):
        Segmenter(network, read_card(checkpoint))(films[0])


@pytest.mark.parametrize("value", [0.0, 2000.0, 4095.0, -32768.0, 65535.0])
@pytest.mark.parametrize("widths", [(60, 60, 60, 60), (0, 0, 150, 0), (0, 0, 400, 400), (70, 0, 0, 60)])
def test_a_border_moves_the_masks_and_changes_nothing_else(
    segmenter: Segmenter, value: float, widths: tuple[int, int, int, int]
):
    film = Film(np.random.default_rng(3).uniform(0, 4095, (200, 150)).astype(np.float32))
    top, bottom, left, right = widths
    sides = ((top, bottom), (left, right))
    alone, bordered = segmenter(film), segmenter(Film(np.pad(film.image, sides, constant_values=np.float32(value))))
    assert alone.masks.any() and np.array_equal(bordered.masks, np.pad(alone.masks, ((0, 0), *sides)))
    assert np.array_equal(bordered.probabilities, alone.probabilities) and bordered.levels == alone.levels
    rows, columns = alone.visible
    assert bordered.visible == (
        slice(rows.start + top, rows.stop + top),
        slice(columns.start + left, columns.stop + left),
    )
