"""checkpoint: what is saved comes back, and anything else is refused in one sentence."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
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
State = dict[str, torch.Tensor]
Change = Callable[[Path], object]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    torch.manual_seed(0)
    save_checkpoint(path, UNet(TINY), CARD)
    return path


def card(**changes: object) -> Change:
    def change(path: Path) -> None:
        stored = json.loads(card_path(path).read_text()) | changes
        card_path(path).write_text(json.dumps(stored))

    return change


def weights(change: Callable[[State], State]) -> Change:
    return lambda path: save_file(change(load_file(path)), path)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_round_trip(tmp_path: Path, dtype: torch.dtype):
    original = UNet(TINY)
    save_checkpoint(tmp_path / "tiny.safetensors", original, CARD, dtype=dtype)
    network, found = load_checkpoint(tmp_path / "tiny.safetensors")
    assert found == CARD
    assert not network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    for name, value in original.state_dict().items():
        assert torch.equal(network.state_dict()[name], value.to(dtype).float()), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_every_setting_is_in_the_card(tmp_path: Path):
    full = Card("a", GridConfig(64, 48, False, "global", 7.0), UNetConfig(1, 7, (3, 5), 1, "batch", 1, 0.5), "none")
    network = UNet(full.network)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.fill_(100_001)  # more than half precision holds
    save_checkpoint(tmp_path / "a.safetensors", network, full)
    network, found = load_checkpoint(tmp_path / "a.safetensors")
    assert found == full
    assert {int(v) for k, v in network.state_dict().items() if k.endswith("tracked")} == {100_001}


def test_the_default_fits_in_10_mb(tmp_path: Path):
    save_checkpoint(tmp_path / "a.safetensors", UNet(UNetConfig()), Card("a"))
    assert (tmp_path / "a.safetensors").stat().st_size < 10e6
    assert load_checkpoint(tmp_path / "a.safetensors")[1] == Card("a")


def test_weights_and_cards_without_an_identity_go_together(saved: Path):
    """As older checkpoints and other programs write them."""
    save_file(load_file(saved), saved)
    stored = json.loads(card_path(saved).read_text())
    del stored["saving"]
    card_path(saved).write_text(json.dumps(stored))
    assert load_checkpoint(saved)[1] == CARD


class Trap:
    """Unpickling this fails the test."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


def card_as_folder(path: Path) -> None:
    card_path(path).unlink()
    card_path(path).mkdir()


def without(state: State) -> State:
    return {name: value for name, value in state.items() if name != "head.bias"}


PICKLE = "a safetensors file, got a pickle, which can run code; "
PART = "a whole safetensors file, got a part of one; "
OTHERS = r"the weights that the card describes, got others \({} missing, {} unknown, {} of another shape\); "
CARD_ONLY = "a card as spineseg writes it, got one that was changed"
REFUSED: list[tuple[str, Change]] = [
    (PICKLE, lambda path: torch.save({"weights": Trap()}, path)),
    (PICKLE, lambda path: path.write_bytes(pickle.dumps(Trap()))),
    (PART, lambda path: path.write_bytes(path.read_bytes()[:-7])),
    (PART, lambda path: path.write_bytes(path.read_bytes()[:40])),
    ("a safetensors file, got another kind of file; ", lambda path: path.write_text("version https://git-lfs")),
    ("a safetensors file, got next to nothing; ", lambda path: path.write_bytes(b"")),
    ("a safetensors file, found none; ", lambda path: path.unlink()),
    ("a JSON card beside the weights, found none; ", lambda path: card_path(path).unlink()),
    ("a card of format 1, got another; update ", card(format=2)),
    (CARD_ONLY, card_as_folder),
    *(
        ("finite weights, got some ", weights(lambda state, v=v: state | {"head.bias": torch.full((6,), float(v))}))
        for v in ("nan", "inf", "-inf")
    ),
    (OTHERS.format(1, 0, 0), weights(without)),
    (OTHERS.format(0, 1, 0), weights(lambda state: state | {"head.scale": torch.ones(1)})),
    (OTHERS.format(22, 22, 0), weights(lambda state: {f"module.{name}": value for name, value in state.items()})),
    (OTHERS.format(0, 0, 1), weights(lambda state: state | {"head.bias": torch.zeros(7)})),
    # 28 GB of weights, by a card of some bytes
    (OTHERS.format(0, 0, r"\d+"), card(network={"features": [20_000, 20_000], "patch": 2})),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "spoil"), REFUSED)
def test_what_is_no_checkpoint_is_refused(saved: Path, sentence: str, spoil: Change):
    spoil(saved)
    with pytest.raises(BadCheckpoint, match=rf"^expected {sentence}[^\n]+$") as caught:
        load_checkpoint(saved)
    assert str(saved.parent) not in str(caught.value)


def test_missing_weights_are_named_and_not_their_card(tmp_path: Path):
    with pytest.raises(BadCheckpoint, match=r"The weights nothere\.safetensors are missing; check the path"):
        load_checkpoint(tmp_path / "nothere.safetensors")


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
    with pytest.raises(BadCheckpoint, match=f"^expected {CARD_ONLY}"):
        read_card(saved)


GRIDS: list[dict[str, object]] = [
    {"colour": True},
    {"intensity": "minmax"},  # one channel, but the network wants two
    {"keep_aspect": "no"},
    {"rows": True},
    {"rows": 4, "columns": 4},
    {"rows": 10**6, "columns": 10**6},
    *({"local_px": px} for px in ("a", None, float("nan"), 0, -5, 1e6, 1e308)),
]
NETWORKS: list[dict[str, object]] = [
    *({"features": features} for features in (["a", "b"], [-4, 6], [4, True], [4] * 40)),
    *({"out_channels": channels} for channels in (1, 3, 5, 8)),  # the array would have channels that nobody expects
    *({"prior": prior} for prior in (1.0, 2.0)),
    {"norm": "layer"},
    {"convolutions": 10**9},  # would keep a machine busy
]
CHANGES: list[dict[str, object]] = [
    *({"grid": {"rows": 32, "columns": 24} | grid} for grid in GRIDS),
    *({"network": {"features": [4, 6]} | network} for network in NETWORKS),
    *({"decoder": "guess"}, {"surprise": 1}, {"network": [1]}, {"name": 3}, {"name": None}, {"description": ["a"]}),
    *({"origin": None}, {"origin": [1]}, {"scores": "none"}, {"fails_on_purpose": "yes"}),
]


@pytest.mark.parametrize("changes", CHANGES, ids=repr)
def test_a_card_that_was_changed(saved: Path, changes: dict[str, object]):
    card(**changes)(saved)
    with pytest.raises(BadCheckpoint, match=f"^expected {CARD_ONLY}"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_half_precision_cannot_hold_are_not_saved(saved: Path, value: float):
    before, network = snapshot(saved.parent), UNet(TINY)
    torch.nn.init.constant_(network.head.weight, value)
    with pytest.raises(BadCheckpoint, match=r"^expected finite weights"):
        save_checkpoint(saved, network, CARD)
    assert snapshot(saved.parent) == before


def test_a_card_that_would_be_refused_is_not_saved(saved: Path):
    before, network = snapshot(saved.parent), replace(TINY, out_channels=5)
    with pytest.raises(
        BadCheckpoint, match=r"^expected a card that can be loaded again, got a network or a grid of a size"
    ):
        save_checkpoint(saved, UNet(network), replace(CARD, network=network))
    assert snapshot(saved.parent) == before


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


def test_a_new_card_beside_old_weights_is_noticed(saved: Path):
    """What a kill between the two names leaves behind."""
    before, old = load_checkpoint(saved)[0].state_dict(), saved.read_bytes()
    torch.manual_seed(1)
    save_checkpoint(saved, UNet(TINY), replace(CARD, decoder="none", scores={"mean dice": 0.9}))
    saved.write_bytes(old)
    network, found = load_checkpoint(saved)
    assert found == CARD
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


KILLED = """
import dataclasses, os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
path = Path(sys.argv[1])

def save_without_pause(done, first):
    network, card = load_checkpoint(path)
    for number in range(first, 10**6):
        with torch.no_grad():
            for weight in network.parameters():
                weight.fill_(number % 1000)
        save_checkpoint(path, network, dataclasses.replace(card, scores={"number": number % 1000}))
        os.write(done, b".")

for first, wait in enumerate((0, 0.002, 0.004, 0.007, 0.011, 0.015), 1):
    saved, done = os.pipe()
    if not (writer := os.fork()):
        save_without_pause(done, first)
    os.read(saved, 1)
    time.sleep(wait)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    network, card = load_checkpoint(path)
    values = {float(value) for weight in network.parameters() for value in weight.detach().flatten()[[0, -1]]}
    assert values == {card.scores["number"]} != {0}, (values, card.scores)
    print(first)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_killed_at_any_moment_the_last_good_checkpoint_loads(tmp_path: Path):
    """SIGKILL while one process writes without pause: the weights are of one save, and the card is theirs."""
    path = tmp_path / "run" / "last.safetensors"
    network = UNet(UNetConfig(features=(16, 32, 64), patch=2))
    save_checkpoint(path, network, replace(CARD, network=network.config, scores={"number": 0}))
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=True, capture_output=True)
    assert done.stdout.split() == [b"1", b"2", b"3", b"4", b"5", b"6"]
    left = {each.name for each in path.parent.iterdir()} - {path.name, card_path(path).name}
    assert all(name.startswith(".") and name.endswith(".part") for name in left)
