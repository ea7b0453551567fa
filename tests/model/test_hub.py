"""hub: an address becomes two files of one commit, from the cache where there is no network; a push is seen before.

The Hub here is a small HTTP server on this machine that answers as the real one does.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from spineseg.inference.segmenter import Segmenter
from spineseg.model import hub
from spineseg.model.card import BadCheckpoint, Card, card_path, read_card
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.hub import (
    CARD,
    PAGE,
    WEIGHTS,
    HubError,
    PinnedRevision,
    model_page,
    pinned_revision,
    prepare_upload,
    push,
    resolve,
    with_revision,
)
from spineseg.model.unet import UNet

TINY = UNetConfig(features=(4, 6), patch=2)
SCORES = {"real": {"films": 11, "dice": 0.81, "per": {"L1": 0.8}}, "simulated": {"films": 100, "dice": 0.91}}
ORIGIN = {"command": "python -m spineseg train --data sim --out run", "films": 5, "settings": {"seed": 3}}
CARD_OF = Card("tiny", GridConfig(rows=32, columns=24), TINY, description="For tests.", origin=ORIGIN, scores=SCORES)
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "run" / "best.safetensors"
    save_checkpoint(path, UNet(TINY), CARD_OF)
    return path


def change_card(weights: Path, **changes: object) -> None:
    stored = json.loads(card_path(weights).read_text())
    card_path(weights).write_text(json.dumps(stored | changes))


@dataclass
class FakeHub:
    """Files of commits; which commit a branch or tag is; what was asked for."""

    url: str = ""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gated: bool = False

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if "/resolve/" not in path:  # what else the library would know
            return 404, {}, b""
        self.asked.append(path)
        owner, name, _, revision, file = path.strip("/").split("/")
        if (owner, name) != ("ann", "spine"):
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        commit = self.names.get(revision, revision)
        if commit not in self.commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if file not in self.commits[commit]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        content = self.commits[commit][file]
        etag = hashlib.sha256(content).hexdigest()
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Content-Length": str(len(content))}, content


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path) -> Iterator[FakeHub]:
    """A Hub with one repository, whose branch main and tag v1 are its first commit; an empty cache; a network."""
    served = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = served.answer(self.path)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    served.commits[OLD] = {WEIGHTS: saved.read_bytes(), CARD: card_path(saved).read_bytes(), "evil.pkl": b"\x80\x04."}
    served.names |= {"main": OLD, "v1": OLD}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the variable HF_HUB_OFFLINE=1 says it; the Hub itself would be asked five times before it is given up."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("revision", ["main", "v1", OLD])
@pytest.mark.parametrize("kind", [str, Path])
def test_an_address_is_fetched_once(
    fake: FakeHub, saved: Path, monkeypatch: pytest.MonkeyPatch, revision: str, kind: type
):
    weights = resolve(address := kind(f"hf://ann/spine@{revision}"))
    assert weights.read_bytes() == saved.read_bytes()
    assert load_checkpoint(weights)[1] == CARD_OF
    assert pinned_revision(weights) == PinnedRevision("ann/spine", OLD)
    assert {path.rpartition("/")[2] for path in fake.asked} == {WEIGHTS, CARD}
    fake.asked.clear()
    if revision != OLD:  # a commit is not asked for twice, with a network or without
        no_network(monkeypatch)
    assert resolve(address) == weights and fake.asked == []


def test_both_files_are_of_one_commit(fake: FakeHub, monkeypatch: pytest.MonkeyPatch):
    """Someone pushes between the two downloads."""
    fake.commits[NEW] = {WEIGHTS: b"other", CARD: b"other"}
    fetch = hub.hf_hub_download

    def and_then_a_push(*given: str, **named: str) -> str:
        path = fetch(*given, **named)
        fake.names["main"] = NEW
        return path

    monkeypatch.setattr(hub, "hf_hub_download", and_then_a_push)
    weights = resolve("hf://ann/spine@main")
    assert pinned_revision(weights) == PinnedRevision("ann/spine", OLD)
    load_checkpoint(weights)


def test_a_branch_that_moved_is_fetched_again(fake: FakeHub, saved: Path):
    resolve("hf://ann/spine@main")
    change_card(saved, description="better")
    fake.commits[NEW] = {WEIGHTS: saved.read_bytes(), CARD: card_path(saved).read_bytes()}
    fake.names["main"] = NEW
    weights = resolve("hf://ann/spine@main")
    assert pinned_revision(weights) == PinnedRevision("ann/spine", NEW)
    assert read_card(weights).description == "better"
    assert pinned_revision(resolve("hf://ann/spine@v1")) == PinnedRevision("ann/spine", OLD)


def refused(name: str) -> str:
    with pytest.raises(HubError) as caught:
        resolve(name)
    sentence = str(caught.value)
    assert sentence.startswith("expected ") and "; " in sentence and "\n" not in sentence and "http" not in sentence
    return sentence


def test_no_network_and_no_cache(fake: FakeHub, monkeypatch: pytest.MonkeyPatch):
    no_network(monkeypatch)
    assert "a network or an earlier download of ann/spine@v1, found neither" in refused("hf://ann/spine@v1")
    assert "found neither" in refused(f"hf://ann/spine@{OLD}")
    assert fake.asked == []


def test_a_network_that_fails(fake: FakeHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Nobody answers: what is cached is used, the rest is refused without the library's own lines."""
    first = resolve("hf://ann/spine@v1")
    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nobody + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    assert resolve("hf://ann/spine@v1") == first
    assert "found neither" in refused("hf://ann/spine@main")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf://ann/other@v1", "expected a public repository ann/other@v1, found none"),
        ("hf://ann/spine@v2", "found the repository without that revision"),
        ("hf://ann/spine", "expected hf://owner/name@revision"),
        ("hf://ann/spine@", "expected hf://owner/name@revision"),
        ("hf://spine@v1", "expected hf://owner/name@revision"),
        ("hf://ann/spine/more@v1", "expected hf://owner/name@revision"),
        ("hf://ann--b/..spine@v1", "expected a name as owner/name"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(fake: FakeHub, name: str, words: str):
    assert words in refused(name)


def test_a_repository_without_a_card_or_open_to_some(fake: FakeHub):
    fake.commits[OLD].pop(CARD)
    assert "found one of them missing" in refused("hf://ann/spine@v1")
    fake.gated = True
    assert "expected access to ann/spine@v1, got none" in refused("hf://ann/spine@v1")


def test_the_commit_is_in_the_card_s_name_and_origin(fake: FakeHub, saved: Path):
    weights = resolve("hf://ann/spine@main")
    card = with_revision(read_card(weights), weights)
    assert card.name == f"tiny (hf://ann/spine@{OLD})"
    assert card.origin == {**ORIGIN, "hub": f"hf://ann/spine@{OLD}"}
    assert resolve(card.origin["hub"]) == weights
    assert Segmenter.load("hf://ann/spine@main", "cpu").card == card, "in the page and the commands alike"
    assert with_revision(CARD_OF, saved) is CARD_OF


def test_what_would_be_pushed_is_known_without_the_hub(saved: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        pytest.fail("the Hub was asked")

    for name in ("HfApi", "hf_hub_download"):
        monkeypatch.setattr(hub, name, fail)
    upload = prepare_upload(saved, "ann/spine", licence="apache-2.0")
    assert list(upload.files) == [WEIGHTS, CARD, PAGE]
    size, page = saved.stat().st_size, upload.page
    assert upload.sizes() == {WEIGHTS: size, CARD: card_path(saved).stat().st_size, PAGE: len(page.encode())}
    for words in (
        *("license: apache-2.0\n", "Not for diagnosis", "For tests.", "--checkpoint hf://ann/spine@REVISION\n"),
        *("| real | 11 | 0.81 |", "| simulated | 100 | 0.91 |", "A U-Net with 4 6 features on a grid of 32 x 24"),
        "- command: python -m spineseg train --data sim --out run",
    ):
        assert words in page, words
    assert "license" not in prepare_upload(saved, "ann/spine").page and "seed" not in page


def test_a_page_says_what_is_not_known():
    page = model_page(Card("bare", decoder="none"), "ann/spine")
    assert "None measured." in page and "Not recorded." in page and "probability maps" in page


@pytest.mark.parametrize("folder", ["/data/ann/films", "~/films/x", "--data=/srv/films/a", "C:\\films"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_of_this_machine_is_not_sent(saved: Path, folder: str, inside: bool):
    """inside: named by the copy of the card in the weights alone."""
    if inside:
        save_checkpoint(saved, UNet(TINY), replace(CARD_OF, origin={"data": folder}))
    change_card(saved, origin={} if inside else {"settings": {"data": [folder]}})
    with pytest.raises(HubError, match="expected a card without folders of this machine, got 1"):
        prepare_upload(saved, "ann/spine")


@pytest.mark.parametrize("name", ["spine", "ann/spine/x", "ann/sp ine", "https://x/y"])
def test_a_repository_needs_owner_and_name(saved: Path, name: str):
    with pytest.raises(HubError, match="expected a repository as owner/name"):
        prepare_upload(saved, name)


def test_spoilt_weights_are_neither_sent_nor_used(saved: Path, fake: FakeHub):
    saved.write_bytes(saved.read_bytes()[:-9])
    fake.commits[OLD][WEIGHTS] = saved.read_bytes()
    with pytest.raises(BadCheckpoint, match="got a part of one"):
        prepare_upload(saved, "ann/spine")
    with pytest.raises(BadCheckpoint, match="got a part of one"):
        load_checkpoint(resolve("hf://ann/spine@v1"))


class FakeApi:
    """Takes what is pushed."""

    calls: list[tuple[str, Any]]

    def __init__(self) -> None:
        FakeApi.calls = []

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.calls.append((repository, private))

    def create_commit(self, repository: str, sent: list[huggingface_hub.CommitOperationAdd], *, commit_message: str):
        contents = {}
        for each in sent:
            with each.as_file() as stream:
                contents[each.path_in_repo] = stream.read()
        self.calls.append((repository, contents))
        return type("Done", (), {"oid": NEW})()


def test_a_push_is_one_commit_that_can_be_fetched(saved: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "HfApi", FakeApi)
    upload = prepare_upload(saved, "ann/spine")
    revision = push(upload, private=True)
    made, (repository, contents) = FakeApi.calls
    assert made == ("ann/spine", True) and repository == "ann/spine" and revision == PinnedRevision("ann/spine", NEW)
    assert contents == {WEIGHTS: saved.read_bytes(), CARD: card_path(saved).read_bytes(), PAGE: upload.page.encode()}
    fake.commits[NEW] = contents
    assert load_checkpoint(resolve(str(revision)))[1] == CARD_OF


def test_a_push_without_a_network(saved: Path, monkeypatch: pytest.MonkeyPatch):
    no_network(monkeypatch)
    with pytest.raises(HubError, match="expected a network"):
        push(prepare_upload(saved, "ann/spine"))
