"""optimiser: the rate from step to step, and each kind's own first step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from spineseg.training.config import TrainConfig
from spineseg.training.optimisation import MOMENTUM, fastest_precision, make_optimiser, rate_factor, warmed_average

CONFIG = TrainConfig(Path(), Path(), learning_rate=0.1, weight_decay=0.0, warmup_steps=4)


def test_the_rate_rises_and_falls_along_a_cosine():
    factor = rate_factor(CONFIG, 14)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert factor(9) == pytest.approx(0.5)
    assert factor(14) == factor(20) == pytest.approx(0)
    assert all(factor(step) > factor(step + 1) for step in range(4, 14))


def test_the_rate_may_stay():
    factor = rate_factor(replace(CONFIG, schedule="constant"), 14)
    assert [factor(step) for step in (0, 3, 4, 14, 1000)] == [0.25, 1, 1, 1, 1]
    assert rate_factor(replace(CONFIG, schedule="constant", warmup_steps=0), 14)(0) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"optimiser": "sgd"}, [2 - 0.1 * 3, 2 - 0.1 * 3 - 0.1 * (3 + MOMENTUM * 3)]),
        ({"optimiser": "adam"}, [1.9, 1.8]),  # its step is the rate, whatever the gradient
        ({"optimiser": "adamw", "weight_decay": 0.5}, [2 * 0.95 - 0.1, (2 * 0.95 - 0.1) * 0.95 - 0.1]),
    ],
)
def test_the_first_two_steps_by_hand(changes: dict[str, Any], expected: list[float]):
    weight = nn.Parameter(torch.tensor(2.0))
    optimiser = make_optimiser([weight], replace(CONFIG, **changes))
    for value in expected:
        weight.grad = torch.tensor(3.0)
        optimiser.step()
        assert weight.item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("most", "steps", "kept"), [(0.998, 1, 2 / 11), (0.998, 285, 286 / 295), (0.5, 285, 0.5)])
def test_the_average_begins_short_and_grows(most: float, steps: int, kept: float) -> None:
    averaged, current = [torch.ones(3)], [torch.zeros(3)]
    warmed_average(most)(averaged, current, torch.tensor(steps))
    torch.testing.assert_close(averaged[0], torch.full((3,), kept))


def test_a_short_training_is_not_judged_by_its_random_start() -> None:
    network = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(network.weight)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=warmed_average(0.998))
    for _ in range(50):
        average.update_parameters(network)
        torch.nn.init.ones_(network.weight)
    assert next(average.parameters()).item() > 0.99


@pytest.mark.parametrize(
    ("onednn", "question", "accelerator", "cuda", "precision"),
    [
        (True, True, False, False, "bf16"),
        (True, False, False, False, "no"),
        (True, None, False, False, "no"),
        (False, None, True, False, "no"),  # Apple silicon: a build without oneDNN, and MPS
        (True, True, True, True, "fp16"),
    ],
)
def test_the_fastest_precision_asks_only_what_the_build_of_torch_has(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, question: bool | None, accelerator: bool, cuda: bool, precision: str
):
    operators = {} if question is None else {"_is_mkldnn_bf16_supported": lambda: question}
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**operators))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert fastest_precision() == precision
