"""recipe: the presets are the report's, and what does not go together is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spineseg.data.augment import AugmentConfig
from spineseg.film import BadInput
from spineseg.model.config import REPORT_6, REPORT_7, GridConfig, UNetConfig
from spineseg.training.config import TrainConfig, caution, preset, settled

HERE = Path()
RIGHT = TrainConfig(HERE, HERE)


def test_the_default_is_the_default():
    assert preset("default", HERE, HERE) == settled(RIGHT) == RIGHT


@pytest.mark.parametrize(("name", "network"), [("report-6", REPORT_6), ("report-7", REPORT_7)])
def test_the_presets_are_the_report_s(name: Any, network: UNetConfig):
    config = preset(name, HERE, HERE)
    assert settled(config) == config
    assert config.network == network
    assert config.grid == GridConfig(rows=1024, columns=1024, keep_aspect=False, intensity="minmax")
    assert config.augment == replace(AugmentConfig.none(), flip_probability=0.5, flips="report")
    assert (config.loss, config.optimiser, config.learning_rate) == ("bce", "adam", 1e-3)
    assert (config.batch, config.accumulate, config.epochs, config.precision) == (2, 1, 100, "no")
    assert (config.schedule, config.warmup_steps, config.average) == ("constant", 0, 0)
    assert (config.weight_decay, config.clip_norm, config.decoder) == (0, 0, "none")
    assert round(120 * config.validation) == 20


def test_the_presets_differ_in_the_seventh_channel_alone():
    six, seven = preset("report-6", HERE, HERE), preset("report-7", HERE, HERE)
    assert (six.targets, six.background) == ("masks", 1)
    assert (seven.targets, seven.background) == ("report-7", 255)
    assert replace(seven, name=six.name, network=six.network, targets="masks") == six


def test_one_sentence_says_what_is_repeated():
    assert caution(RIGHT) is None
    six, seven = (caution(preset(name, HERE, HERE)) for name in ("report-6", "report-7"))
    assert six == (
        "this training repeats on purpose what failed in the report: flips on the wrong axes, after which half of the"
        " labels name the channels in reverse."
    )
    assert seven is not None and "cross-entropy falls below zero and flips on the wrong axes" in seven
    assert seven.count(".") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": AugmentConfig(flips="report")},
        {"targets": "report-7", "network": UNetConfig(out_channels=7), "loss": "bce"},
    ],
)
def test_channels_that_are_no_levels_are_never_decoded_as_levels(changes: dict[str, Any]):
    config = settled(replace(RIGHT, **changes))
    assert (config.sound, config.decoder) == (False, "none")
    assert settled(RIGHT).decoder == "ordered"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"grid": GridConfig(rows=100)}, "expected a grid in multiples of 128, which the network needs, got 100 x 384"),
        ({"targets": "report-7"}, "expected seven channels and the loss bce with .*, got 6 and bce.dice; set"),
        (
            {"targets": "report-7", "network": UNetConfig(out_channels=7), "loss": "dice"},
            "expected seven channels and the loss bce with the targets report-7, got 7 and dice",
        ),
        ({"batch": 0}, "expected batch of 1 or more, got 0; set another"),
        ({"accumulate": 0}, "expected accumulate of 1 or more"),
        ({"patience": 0}, "expected patience of 1 or more"),
        ({"learning_rate": -1e-3}, "expected learning_rate of 0 or more, got -0.001"),
        ({"learning_rate": float("nan")}, "expected learning_rate of 0 or more, got nan"),
        ({"average": 1.0}, "expected average from 0 to below 1, got 1; set 0 for none"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], sentence: str):
    with pytest.raises(BadInput, match=f"^{sentence}"):
        settled(replace(RIGHT, **changes))
