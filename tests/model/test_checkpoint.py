"""checkpoint: what is saved comes back, and anything else is refused in one sentence."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from spineseg.model import checkpoint
from spineseg.model.card import BadCheckpoint, Card, card_path, read_card
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.unet import UNet

ROOT = Path(__file__).parents[2]
TINY = UNetConfig(features=(4, 6), patch=2)
CARD = Card(
    "tiny",
    GridConfig(rows=32, columns=24),
    TINY,
    description="for the tests",
    origin={"seed": 3, "versions": {"torch": "2"}},
    scores={"mean dice": 0.5},
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    torch.manual_seed(0)
    save_checkpoint(path, UNet(TINY), CARD)
    return path


def change_card(path: Path, **changes: object) -> None:
    stored = json.loads(card_path(path).read_text())
    card_path(path).write_text(json.dumps(stored | changes))


def change_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(path)), path)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_round_trip(saved: Path):
    torch.manual_seed(0)
    original = UNet(TINY)
    network, card = load_checkpoint(saved)
    assert card == CARD
    assert not network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    for name, value in original.state_dict().items():
        assert torch.equal(network.state_dict()[name], value.half().float()), name
    assert sorted(p.name for p in saved.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_full_precision_is_exact(tmp_path: Path):
    original = UNet(TINY)
    save_checkpoint(tmp_path / "a.safetensors", original, CARD, dtype=torch.float32)
    network, _ = load_checkpoint(tmp_path / "a.safetensors")
    assert all(torch.equal(network.state_dict()[k], v) for k, v in original.state_dict().items())


def test_every_setting_is_in_the_card(tmp_path: Path):
    card = Card("a", GridConfig(64, 48, False, "global", 7.0), UNetConfig(1, 7, (3, 5), 1, "batch", 1, 0.5), "none")
    save_checkpoint(tmp_path / "a.safetensors", UNet(card.network), card)
    assert load_checkpoint(tmp_path / "a.safetensors")[1] == card


def test_batch_normalisation_may_have_counted_far(tmp_path: Path):
    card = Card("a", CARD.grid, UNetConfig(features=(3, 5), norm="batch"))
    network = UNet(card.network)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.fill_(100_001)
    save_checkpoint(tmp_path / "a.safetensors", network, card)
    loaded, _ = load_checkpoint(tmp_path / "a.safetensors")
    assert {int(v) for k, v in loaded.state_dict().items() if k.endswith("tracked")} == {100_001}


def test_the_default_fits_in_10_mb(tmp_path: Path):
    save_checkpoint(tmp_path / "a.safetensors", UNet(UNetConfig()), Card("a"))
    assert (tmp_path / "a.safetensors").stat().st_size < 10e6
    assert load_checkpoint(tmp_path / "a.safetensors")[1] == Card("a")


def missing(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name != "head.bias"}


def extra(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {"head.scale": torch.ones(1)}


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"module.{name}": value for name, value in state.items()}


def reshaped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {"head.bias": torch.zeros(7)}


@pytest.mark.parametrize(
    ("change", "counts"), [(missing, (1, 0, 0)), (extra, (0, 1, 0)), (renamed, (22, 22, 0)), (reshaped, (0, 0, 1))]
)
def test_other_weights_are_refused(
    saved: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], counts: tuple[int, int, int]
):
    change_weights(saved, change)
    said = r"got others \({} missing, {} unknown, {} of another shape\); [^\n]+$".format(*counts)
    with pytest.raises(BadCheckpoint, match="^expected the weights that the card describes, " + said):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, value: float):
    change_weights(saved, lambda state: state | {"head.bias": torch.full((6,), value)})
    with pytest.raises(BadCheckpoint, match=r"^expected finite weights"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_half_precision_cannot_hold_are_not_saved(saved: Path, value: float):
    before, network = snapshot(saved.parent), UNet(TINY)
    torch.nn.init.constant_(network.head.weight, value)
    with pytest.raises(BadCheckpoint, match=r"^expected finite weights"):
        save_checkpoint(saved, network, CARD)
    assert snapshot(saved.parent) == before


class Trap:
    """Unpickling this fails the test."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


def torch_pickle(path: Path) -> None:
    torch.save({"weights": Trap()}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (torch_pickle, "expected a safetensors file, got a pickle, which can run code; "),
        (plain_pickle, "expected a safetensors file, got a pickle, which can run code; "),
        (truncated, "expected a whole safetensors file, got a part of one; "),
        (cut_in_the_header, "expected a whole safetensors file, got a part of one; "),
        (text, "expected a safetensors file, got another kind of file; "),
        (empty, "expected a safetensors file, got next to nothing; "),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused(saved: Path, spoil: Callable[[Path], None], said: str):
    spoil(saved)
    with pytest.raises(BadCheckpoint, match=rf"^{said}[^\n]+$"):
        load_checkpoint(saved)


def test_missing_weights(saved: Path):
    saved.unlink()
    with pytest.raises(BadCheckpoint, match=r"^expected a safetensors file, found none"):
        load_checkpoint(saved)


def test_missing_card(saved: Path):
    card_path(saved).unlink()
    with pytest.raises(BadCheckpoint, match=r"^expected a JSON card beside the weights, found none"):
        load_checkpoint(saved)


def test_another_format(saved: Path):
    change_card(saved, format=2)
    with pytest.raises(BadCheckpoint, match=r"^expected a card of format 1, got another; update"):
        read_card(saved)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", "{}", '{"format": 1}', "\ud800"),
        *("[" * 100_000, '{"a":' * 100_000, '{"format": ' + "9" * 5000 + "}"),
    ],
    ids=lambda text: text[:12],
)
def test_a_card_that_is_no_card(saved: Path, text: str):
    card_path(saved).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadCheckpoint, match=r"^expected a card as spineseg writes it, got one that was changed"):
        read_card(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder": "guess"},
        {"surprise": 1},
        {"grid": {"rows": 32, "columns": 24, "colour": True}},
        {"grid": {"rows": 32, "columns": 24, "intensity": "minmax"}},  # one channel, but the network wants two
        {"network": {"features": ["a", "b"]}},
        {"network": {"features": [4, 6], "prior": 1.0}},
        {"network": {"features": [4, 6], "prior": 2.0}},
        {"network": {"features": [-4, 6]}},
        {"network": [1]},
        {"network": {"features": [4, 6], "norm": "layer"}},
        {"network": {"features": [4, True]}},
        {"name": 3},
        {"name": None},
        {"description": ["a"]},
        {"origin": None},
        {"origin": [1]},
        {"scores": "none"},
        {"grid": {"rows": 32, "columns": 24, "keep_aspect": "no"}},
        {"grid": {"rows": True, "columns": 24}},
        {"grid": {"rows": 4, "columns": 4}},
        *({"grid": {"rows": 32, "columns": 24, "local_px": px}} for px in ("a", None, float("nan"), 0, -5, 1e6, 1e308)),
        {"network": {"features": [4, 6], "convolutions": 10**9}},  # these three would keep a machine busy
        {"network": {"features": [4] * 40}},
        {"grid": {"rows": 10**6, "columns": 10**6}},
    ],
)
def test_a_card_that_was_changed(saved: Path, changes: dict[str, object]):
    change_card(saved, **changes)
    with pytest.raises(BadCheckpoint, match=r"^expected a card as spineseg writes it, got one that was changed"):
        load_checkpoint(saved)


def test_a_huge_network_is_refused_before_it_is_made(saved: Path):
    """28 GB of weights, by a card of some bytes."""
    change_card(saved, network={"features": [20_000, 20_000], "patch": 2})
    with pytest.raises(BadCheckpoint, match=r"^expected the weights that the card describes"):
        load_checkpoint(saved)


@pytest.mark.parametrize("channels", [1, 3, 5, 8])
def test_a_network_for_another_number_of_vertebrae(saved: Path, channels: int):
    """Weights and card agree; the array would have channels that nobody expects."""
    network = replace(TINY, out_channels=channels)
    save_checkpoint(saved, UNet(network), replace(CARD, network=network))
    with pytest.raises(BadCheckpoint, match=r"^expected a card as spineseg writes it"):
        load_checkpoint(saved)


def test_a_card_that_is_a_folder(saved: Path):
    card_path(saved).unlink()
    card_path(saved).mkdir()
    with pytest.raises(BadCheckpoint, match=r"^expected a card as spineseg writes it") as caught:
        load_checkpoint(saved)
    assert str(saved.parent) not in str(caught.value)


def test_a_network_of_another_size(saved: Path):
    change_card(saved, network={"features": [8, 6]})
    with pytest.raises(BadCheckpoint, match=r"^expected the weights that the card describes"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["save", "write_card"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interruption_leaves_the_old_checkpoint(
    saved: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
):
    before = snapshot(saved.parent)

    def fail(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(checkpoint, name, fail)
    with pytest.raises(type(error)):
        save_checkpoint(saved, UNet(TINY), CARD)
    assert snapshot(saved.parent) == before


def test_an_interruption_of_the_first_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path / "a.safetensors", UNet(TINY), CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_new_card_beside_old_weights_is_noticed(saved: Path):
    """What a kill between the two names leaves behind."""
    before, old = load_checkpoint(saved)[0].state_dict(), saved.read_bytes()
    torch.manual_seed(1)
    save_checkpoint(saved, UNet(TINY), replace(CARD, decoder="none", scores={"mean dice": 0.9}))
    saved.write_bytes(old)
    network, card = load_checkpoint(saved)
    assert card == CARD
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


def test_a_card_may_be_completed_by_hand(saved: Path):
    change_card(saved, description="longer")
    assert load_checkpoint(saved)[1].description == "longer"


def test_weights_and_cards_without_a_mark_go_together(saved: Path):
    """As older checkpoints and other programs write them."""
    save_file(load_file(saved), saved)
    stored = json.loads(card_path(saved).read_text())
    del stored["saving"]
    card_path(saved).write_text(json.dumps(stored))
    assert load_checkpoint(saved)[1] == CARD


KILLED = """
import dataclasses, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from spineseg.model.card import Card
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
path = Path(sys.argv[1])
network, card = load_checkpoint(path)
for number in range(1, 10**6):
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(number % 1000)
    save_checkpoint(path, network, dataclasses.replace(card, scores={"number": number % 1000}))
    print(number, flush=True)
"""


def test_killed_at_any_moment_the_last_good_checkpoint_loads(tmp_path: Path):
    """SIGKILL while one process writes without pause: the weights are one whole saving, and the card is theirs."""
    path = tmp_path / "run" / "last.safetensors"
    card = replace(CARD, network=UNetConfig(features=(16, 32, 64), patch=2), scores={"number": 0})
    network = UNet(card.network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    save_checkpoint(path, network, card)
    for wait in (0.0, 0.004, 0.015):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert writer.stdout is not None and writer.stdout.readline() == b"1\n"
        time.sleep(wait)
        writer.kill()
        writer.communicate()
        network, found = load_checkpoint(path)
        (number,) = {float(value) for weight in network.parameters() for value in weight.detach().flatten()[[0, -1]]}
        assert found.scores["number"] == number >= 1
    left = {each.name for each in path.parent.iterdir()} - {path.name, card_path(path).name}
    assert all(name.startswith(".") and name.endswith(".part") for name in left)
