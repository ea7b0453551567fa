"""config: what is saved reads back, and what does not go together is refused."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from spineseg.film import BadInput
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.training.config import SCRATCH, TrainConfig, read_config, validated

HERE = Path()
DEFAULT = TrainConfig(HERE, HERE)


def test_the_default_is_valid_and_the_grid_decides_the_input_channels():
    assert validated(DEFAULT) == DEFAULT
    config = validated(replace(DEFAULT, grid=GridConfig(intensity="minmax")))
    assert config.network == replace(DEFAULT.network, in_channels=1)


def test_a_saved_configuration_reads_back(tmp_path: Path):
    config = replace(DEFAULT, start=Path("a.safetensors"), patients=Path("p.csv"), network=UNetConfig(features=(4, 6)))
    write(tmp_path, asdict(config))
    assert read_config(tmp_path) == read_config(tmp_path / "config.json") == config
    write(tmp_path, asdict(replace(config, start=SCRATCH)))
    assert read_config(tmp_path).start == SCRATCH


@pytest.mark.parametrize("changes", [{"targets": "report-7"}, {"augment": {"flips": "report"}}, {"grid": None}])
def test_a_run_of_another_version_is_said_to_be_one(tmp_path: Path, changes: dict[str, Any]):
    write(tmp_path, {**asdict(DEFAULT), **changes})
    with pytest.raises(BadInput, match=r"^expected the config\.json of a run of this version, got another"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": "x"}, "epochs: Input should be a valid integer, unable to parse string as an integer"),
        ({"epochs": 1.5}, "epochs: Input should be a valid integer, got a number with a fractional part"),
        ({"optimiser": "nope"}, "optimiser: Input should be 'adamw', 'adam' or 'sgd'"),
        ({"network": {"features": 5}}, "network.features: Input should be a valid tuple"),
        ({"augment": {"flips": "report"}}, "augment.flips: unknown"),
        ({"targets": "report-7"}, "targets: unknown"),
    ],
)
def test_a_value_that_is_none_is_named(tmp_path: Path, changes: dict[str, Any], reason: str):
    write(tmp_path, {**asdict(DEFAULT), **changes})
    with pytest.raises(BadInput, match=re.escape(f"({reason}); train again")):
        read_config(tmp_path)


def write(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, default=str))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"grid": GridConfig(rows=100)}, "expected a grid in multiples of 128, which the network needs, got 100 x 384"),
        ({"batch": 0}, "expected batch of 1 or more, got 0; set another"),
        ({"accumulate": 0}, "expected accumulate of 1 or more"),
        ({"patience": 0}, "expected patience of 1 or more"),
        ({"learning_rate": -1e-3}, "expected learning_rate of 0 or more, got -0.001"),
        ({"learning_rate": float("nan")}, "expected learning_rate of 0 or more, got nan"),
        ({"repeats": 0}, "expected repeats of 1 or more"),
        ({"seed": -1}, "expected seed of 0 or more, got -1"),
        ({"validation": 7.0}, "expected validation from 0 to below 1, got 7; set a share of the films"),
        ({"keep": 1.0}, "expected keep from 0 to below 1, got 1; set 0 for none"),
        ({"average": 1.0}, "expected average from 0 to below 1, got 1; set 0 for none"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], sentence: str):
    with pytest.raises(BadInput, match=f"^{sentence}"):
        validated(replace(DEFAULT, **changes))
