"""Auxiliary maps: what they show on known masks, what is hidden, and a training from films to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small import random_network, rectangles, simulate_films, write_checkpoint

from experiments.auxiliary_maps.__main__ import main, with_maps, without_maps
from experiments.auxiliary_maps.changes import borders_and_discs, hidden, hidden_and_mapped
from spineseg.inference.segmenter import Segmenter
from spineseg.model.config import UNetConfig
from spineseg.simulate import SimulateConfig, simulate_case


def test_borders_lie_on_the_edges_and_discs_between_neighbours() -> None:
    masks = rectangles((96, 48), 10, 12, 8, 16, 12).astype(np.float32)
    border, disc = borders_and_discs(masks)
    assert border[10, 16:28].all() and border[9, 16:28].all() and not border[12:16, 18:26].any()
    assert disc[18:22, 16:28].all() and disc.sum() == 5 * 4 * 12, "neither on bodies nor above L1 nor below S1"
    masks[2] = 0
    assert borders_and_discs(masks)[1].sum() == 3 * 4 * 12, "a body that is missing has no discs"


def test_only_contrast_goes_and_labels_stay() -> None:
    case = simulate_case(1, 0, SimulateConfig(rows=192, crop_probability=0.0))
    image = case.film.image / case.film.image.max()
    targets = case.masks.astype(np.float32)
    changed = [hidden(image, targets, np.random.default_rng(seed)) for seed in range(12)]
    assert all(each.dtype == np.float32 and np.isfinite(each).all() for each in changed)
    assert sum(not np.array_equal(each, image) for each in changed) >= 6
    assert np.array_equal(hidden(image, 0 * targets, np.random.default_rng(0)), image), "no body, no change"
    inside = np.ones(image.shape, bool)
    inside[:20] = False
    seen, told, _ = hidden_and_mapped(image, targets, inside, np.random.default_rng(1))
    assert not seen[:20].any() and np.array_equal(told[:6], targets) and len(told) == 8


def test_a_head_that_grew_answers_for_the_vertebrae_as_before() -> None:
    network = random_network(UNetConfig(features=(4, 6), patch=1))
    wider = with_maps(network)
    assert wider.head.out_channels == 8
    for name, weight in without_maps(wider).state_dict().items():
        assert np.array_equal(weight, network.state_dict()[name])


def test_training_goes_from_films_to_a_checkpoint(tmp_path: Path) -> None:
    data = simulate_films(tmp_path / "data", 8)
    card = write_checkpoint(start := tmp_path / "start.safetensors")
    out = tmp_path / "run" / "last.safetensors"
    few = ["--epochs", "1", "--batch", "2", "--warmup-steps", "1"]
    assert main(["--data", str(data), "--out", str(out), "--from", str(start), *few]) == 0
    assert Segmenter.load(out, "cpu").card == card
    assert out.read_bytes() != start.read_bytes()
