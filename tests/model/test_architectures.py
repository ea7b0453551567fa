"""A network of the user's own: saved, loaded and run like the U-Net, and imported only where the user names it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import my_networks
import numpy as np
import pytest
import torch

from spineseg.film import Film
from spineseg.inference.segmenter import Segmenter
from spineseg.model.architectures import BadArchitecture, build_network, completed
from spineseg.model.card import UNET, BadCheckpoint, Card, card_content, card_path, is_architecture, read_card
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.hub import prepare_upload
from spineseg.model.unet import UNet

ROOT = Path(__file__).parents[2]
GRID = GridConfig(rows=64, columns=48)
STRIDES = {"whole": 1, "quarter": 4}


def card_of(factory: str, stride: int = 1) -> Card:
    return Card("mine", GRID, UNetConfig(patch=stride), decoder="none", architecture=f"my_networks:{factory}")


@pytest.fixture(params=STRIDES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    card = card_of(request.param, STRIDES[request.param])
    path = tmp_path / "run" / "mine.safetensors"
    save_checkpoint(path, build_network(card.architecture, card.network), card, dtype=torch.float32)
    return path


def test_a_factory_is_saved_loaded_and_run(saved: Path):
    card = read_card(saved)
    network, loaded = load_checkpoint(saved, card.architecture)
    assert loaded == card == card_of(card.architecture.partition(":")[2], card.network.patch)
    again = build_network(card.architecture, card.network)
    again.load_state_dict(network.state_dict())
    image = torch.randn(1, 2, 64, 48)
    assert not network.training and torch.equal(network(image), again.eval()(image))
    film = Film(np.random.default_rng(0).uniform(0, 4095, (97, 131)).astype(np.float32))
    prediction = Segmenter.load(saved, "cpu", architecture=card.architecture)(film)
    assert prediction.masks.shape == (6, 97, 131) and prediction.probabilities.shape == (6, 64, 48)
    page = prepare_upload(saved, "ann/spine", architecture=card.architecture).page
    assert f"`{card.architecture}` on a grid" in page and f"--architecture {card.architecture}" in page


@pytest.mark.parametrize(("factory", "stride"), STRIDES.items())
def test_the_output_stride_is_found_without_a_random_number(factory: str, stride: int):
    torch.manual_seed(0)
    config = UNetConfig(features=(3, 5), out_channels=7)
    expected = UNetConfig(out_channels=7, patch=stride)
    assert completed(f"my_networks:{factory}", config, GRID) == expected
    assert completed(UNET, config, GRID) is config
    first = torch.rand(1)
    torch.manual_seed(0)
    assert first == torch.rand(1)


def test_a_card_of_the_u_net_keeps_its_format():
    for path in sorted((ROOT / "checkpoints").glob("*.json")):
        stored, card = json.loads(path.read_text()), read_card(path.with_suffix(".safetensors"))
        content = json.loads(json.dumps(card_content(card)))
        assert list(content) == [name for name in stored if name != "saving"]
        assert content == {name: value for name, value in stored.items() if name != "saving"}
        assert load_checkpoint(path.with_suffix(".safetensors"))[1].architecture == UNET


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An architecture whose module must not be imported."""
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return "trap_module:network"


def rename(card: Path, architecture: str) -> None:
    stored = json.loads(card.read_text())
    network = {name: stored["network"][name] for name in ("in_channels", "out_channels", "patch")}
    card.write_text(json.dumps(stored | {"architecture": architecture, "network": network}))


READERS: list[Callable[[Path], object]] = [load_checkpoint, Segmenter.load, lambda path: prepare_upload(path, "a/b")]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["unet", "whole"])
def test_a_card_imports_nothing(tmp_path: Path, trap: str, read: Callable[[Path], object], kind: str):
    path = tmp_path / "stranger.safetensors"
    card = card_of(kind) if kind == "whole" else Card("a", GRID, UNetConfig(features=(4, 6)))
    save_checkpoint(path, build_network(card.architecture, card.network), card)
    rename(card_path(path), trap)
    flag = f"this checkpoint's network is {trap}, not unet; give --architecture {trap} if you have and trust"
    with pytest.raises(BadCheckpoint, match=f"^{flag} that Python file$"):
        read(path)
    assert "trap_module" not in sys.modules


def test_nor_does_the_copy_in_the_weights(tmp_path: Path, trap: str):
    """The card beside them is of another save and names the U-Net."""
    path, network = tmp_path / "a.safetensors", UNetConfig(features=(4, 6))
    save_checkpoint(path, UNet(network), Card("a", GRID, network))
    beside = card_path(path).read_bytes()
    card = card_of("whole")
    save_checkpoint(path, my_networks.whole(2, 6), card)
    path.write_bytes(path.read_bytes().replace(b"my_networks:whole", trap.encode()[:17].ljust(17, b"x")))
    card_path(path).write_bytes(beside)
    with pytest.raises(BadCheckpoint, match=r"^this checkpoint's network is trap_module:netwo, not unet; "):
        load_checkpoint(path)
    assert "trap_module" not in sys.modules


@pytest.mark.parametrize("named", ["my_networks:smaller", UNET])
def test_another_architecture_than_the_card_s_is_refused(saved: Path, named: str):
    with pytest.raises(BadCheckpoint, match=rf"^this checkpoint's network is my_networks:\w+, not {named}; give "):
        load_checkpoint(saved, named)


def test_the_u_net_under_another_name_is_refused(tmp_path: Path):
    network = UNetConfig(features=(4, 6))
    save_checkpoint(tmp_path / "a.safetensors", UNet(network), Card("a", GRID, network))
    with pytest.raises(BadCheckpoint, match=r"network is unet, not my_networks:whole; give --architecture unet$"):
        load_checkpoint(tmp_path / "a.safetensors", "my_networks:whole")


@pytest.mark.parametrize("saved", ["whole"], indirect=True)
@pytest.mark.parametrize("change", [{"features": [20_000] * 12}, {"surprise": 1}, {"patch": 0}, {"out_channels": 5}])
def test_a_card_has_no_say_in_a_factory(saved: Path, change: dict[str, object]):
    stored = json.loads(card_path(saved).read_text())
    card_path(saved).write_text(json.dumps(stored | {"network": stored["network"] | change}))
    with pytest.raises(BadCheckpoint, match=r"^expected a card as spineseg writes it"):
        load_checkpoint(saved, stored["architecture"])


WRONG_LOGITS = [
    ("smaller", r"gives \(1, 6, 62, 46\) for a grid of 64 x 48; return logits of 1 x 6 channels on the grid, or "),
    ("uneven", r"gives \(1, 6, 16, 24\)"),
    ("three_channels", r"gives \(1, 3, 64, 48\)"),
    ("several", "gives list for"),
    ("volume", r"fails on an input of \(1, 2, 64, 48\): "),
]
NO_NETWORK = [
    ("no_module", "returns int; return a torch.nn.Module"),
    ("no_arguments", r"^my_networks:no_arguments\(2, 6\) fails: "),
    ("not_callable", "has no function not_callable"),
    ("missing", "has no function missing"),
]


@pytest.mark.parametrize(("factory", "sentence"), [*WRONG_LOGITS, *NO_NETWORK])
def test_a_network_that_does_not_fit_is_neither_trained_nor_saved(tmp_path: Path, factory: str, sentence: str):
    card = card_of(factory)
    network = getattr(my_networks, factory)(2, 6) if (factory, sentence) in WRONG_LOGITS else my_networks.whole(2, 6)
    for attempt in (
        lambda: completed(card.architecture, card.network, GRID),
        lambda: save_checkpoint(tmp_path / "new" / "a.safetensors", network, card),
    ):
        with pytest.raises(BadArchitecture, match=sentence) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def changed(**changes: object) -> Card:
    return replace(card_of("whole"), **changes)  # type: ignore[arg-type]


NAMES = ["__main__:net", "m:<lambda>", "m:f.<locals>.g", "m:A.f", "m", ":f", "m:", "m:f:g", "../m:f", "m:é"]


@pytest.mark.parametrize("saved", ["whole"], indirect=True)
@pytest.mark.parametrize("name", [*NAMES, "unet "])
def test_a_name_that_no_other_process_can_import_is_neither_saved_nor_read(saved: Path, name: str):
    assert not is_architecture(name)
    before = saved.read_bytes(), card_path(saved).read_bytes()
    with pytest.raises(BadCheckpoint, match="an architecture that no other process can import"):
        save_checkpoint(saved, my_networks.whole(2, 6), changed(architecture=name))
    assert before == (saved.read_bytes(), card_path(saved).read_bytes())
    rename(card_path(saved), name)
    with pytest.raises(BadCheckpoint, match=r"^expected a card as spineseg writes it"):
        read_card(saved)
    with pytest.raises(BadArchitecture, match="names no network; name a function of an importable file"):
        build_network(name, UNetConfig())


@pytest.mark.parametrize(
    ("network", "card", "sentence"),
    [
        (my_networks.quarter(2, 6), changed(), "^expected the network that the card describes, got another"),
        (my_networks.quarter(2, 6), card_of("quarter", 2), "^expected logits on the grid divided by 2, got 4"),
        (my_networks.whole(2, 6), changed(grid=GridConfig(64, 48, intensity="minmax")), "do not go together"),
        (my_networks.whole(2, 6), changed(architecture="no_such_file:net"), "no module that Python finds; start in"),
        (UNet(UNetConfig(features=(4, 6))), Card("a", GRID, UNetConfig(features=(4, 8))), "7 of another shape"),
    ],
)  # fmt: skip
def test_network_and_card_must_agree(tmp_path: Path, network: torch.nn.Module, card: Card, sentence: str):
    with pytest.raises((BadCheckpoint, BadArchitecture), match=sentence):
        save_checkpoint(tmp_path / "a.safetensors", network, card)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_user_s_module_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lacks_something.py").write_text("import no_such_library_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library_at_all"):
        build_network("lacks_something:net", UNetConfig())


def test_the_card_is_read_without_torch():
    code = "import sys, spineseg.model.card as c; assert 'torch' not in sys.modules; c.read_card(c.Path(sys.argv[1]))"
    weights = ROOT / "checkpoints" / "spineseg.safetensors"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules", weights], check=True, cwd=ROOT)
