"""Checkpoints on the Hugging Face Hub: `hf://owner/name@revision` as a local file, and a checkpoint put there.

Only safetensors, the JSON card and a README ever travel; nothing is unpickled.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import safe_open

from spineseg.film import BadInput
from spineseg.model.card import UNET, Card, card_path

WEIGHTS, CARD, PAGE = "model.safetensors", "model.json", "README.md"
"""What a repository holds; other files in it are never fetched."""
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w.][\w./-]*)")
"""One slash too, for that is what a `Path` makes of two."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FOLDER = re.compile(r"(?<![\w.:/])(/[\w.-]+/|~/|[A-Za-z]:\\)")


class HubError(BadInput):
    """A checkpoint on the Hub that cannot be had, or one that cannot be put there."""


@dataclass(frozen=True)
class PinnedRevision:
    """One commit of one repository; `str` of it is the address that always gives the same weights."""

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"hf://{self.repository}@{self.commit}"


# From the Hub


def resolve(name: Path | str) -> Path:
    """The weights file that a path or an address `hf://owner/name@revision` stands for; its card lies beside it.

    An address is fetched into huggingface_hub's cache and found there again without a network, a commit without asking
    at all. Both files are of one commit. revision: a commit, a tag or a branch. Raises HubError.
    """
    address = name.as_posix() if isinstance(name, Path) else name
    if not address.startswith("hf:"):
        return Path(name)
    if not (match := _ADDRESS.fullmatch(address)):
        raise HubError("expected hf://owner/name@revision, got another form; the revision is a commit, tag or branch")
    repository, revision = match["repository"], match["revision"]
    with _hub_errors(f"{repository}@{revision}"):
        card = Path(hf_hub_download(repository, CARD, revision=revision))
        weights = Path(hf_hub_download(repository, WEIGHTS, revision=card.parent.name))
    return weights


def pinned_revision(weights: Path) -> PinnedRevision | None:
    """The commit that a file of huggingface_hub's cache belongs to; None for any other file."""
    snapshot = weights.parent
    kind, _, name = snapshot.parent.parent.name.partition("--")
    if kind != "models" or snapshot.parent.name != "snapshots" or not _COMMIT.fullmatch(snapshot.name):
        return None
    return PinnedRevision(name.replace("--", "/", 1), snapshot.name)


def with_revision(card: Card, weights: Path) -> Card:
    """The card; if its weights came from the Hub, with the commit in its origin and in its name, which reports show."""
    if (revision := pinned_revision(weights)) is None:
        return card
    return replace(card, name=f"{card.name} ({revision})", origin={**card.origin, "hub": str(revision)})


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Errors of the Hub and the network as a HubError without a URL or a token; retries are not logged."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError):
        raise HubError(
            f"expected a network or an earlier download of {what}, found neither; connect once, or name a local file"
        ) from None
    except GatedRepoError:
        raise HubError(f"expected access to {what}, got none; ask its owner, then `hf auth login`") from None
    except RepositoryNotFoundError:
        raise HubError(f"expected a public repository {what}, found none; check the name, or `hf auth login`") from None
    except RevisionNotFoundError:
        raise HubError(f"expected {what}, found the repository without that revision; check what follows @") from None
    except EntryNotFoundError:
        raise HubError(f"expected {WEIGHTS} and {CARD} in {what}, found one of them missing; push both") from None
    except HFValidationError:
        raise HubError(f"expected a name as owner/name, got {what}; use letters, digits, - _ and . only") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "nothing"
        raise HubError(f"expected an answer about {what}, got {status}; log in with `hf auth login`, or wait") from None
    finally:
        logger.setLevel(before)


# To the Hub


@dataclass(frozen=True)
class Upload:
    """What a push sends: file names in the repository with their content, the weights as a path on the disk."""

    repository: str
    files: Mapping[str, bytes | Path]

    @property
    def page(self) -> str:
        """The model card as it will be read."""
        content = self.files[PAGE]
        return content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {n: c.stat().st_size if isinstance(c, Path) else len(c) for n, c in self.files.items()}


def prepare_upload(weights: Path, repository: str, *, licence: str = "", architecture: str = UNET) -> Upload:
    """All that a push of these weights would send, checked as for use; asks nothing of the Hub.

    Raises BadCheckpoint as `load_checkpoint` does, HubError for a bad repository name or a card that names a folder.
    """
    from spineseg.model.checkpoint import load_checkpoint

    if not _REPOSITORY.fullmatch(repository):
        raise HubError("expected a repository as owner/name, got another form; use letters, digits, - _ and . only")
    _, card = load_checkpoint(weights, architecture)
    with safe_open(weights, framework="np") as file:
        own = json.loads((file.metadata() or {}).get("card", "{}"))  # the weights' copy, which goes along
    folders = {text for text in _texts([asdict(card), own]) if _FOLDER.search(text)}
    if folders:
        raise HubError(
            f"expected a card without folders of this machine, got {len(folders)}; save it again without them"
        )
    page = model_page(card, repository, licence).encode()
    return Upload(repository, {WEIGHTS: weights, CARD: card_path(weights).read_bytes(), PAGE: page})


def push(upload: Upload, *, private: bool = False) -> PinnedRevision:
    """Send everything as one commit, into a repository that is made if there is none. Raises HubError.

    Needs a token that may write, as `hf auth login` keeps one.
    """
    added = [CommitOperationAdd(name, content) for name, content in upload.files.items()]
    with _hub_errors(upload.repository):
        api = HfApi()
        api.create_repo(upload.repository, private=private, exist_ok=True)
        commit = api.create_commit(upload.repository, added, commit_message=f"Checkpoint {upload.repository}")
    return PinnedRevision(upload.repository, commit.oid)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def model_page(card: Card, repository: str, licence: str = "") -> str:
    """The model card: what it is for and not for, how to use it, its scores, and where the weights came from."""
    head = ["---", "library_name: spineseg", "pipeline_tag: image-segmentation"]
    head += [f"license: {licence}"] if licence else []
    head += ["tags: [medical-imaging, radiography, segmentation, spine, dicom, u-net]", "---"]
    ordered = card.decoder == "ordered"
    decoder = "six masks in anatomical order" if ordered else "probability maps, the highest above 0.5"
    unet = card.architecture == UNET
    network = f"A U-Net with {' '.join(map(str, card.network.features))} features" if unet else f"`{card.architecture}`"
    flag = "" if unet else f" --architecture {card.architecture}"
    parts = [
        "\n".join(head),
        f"# {card.name}",
        "The vertebral bodies L1, L2, L3, L4, L5 and S1 on a lateral lumbar radiograph, as masks.",
        "**Not for diagnosis.** A research tool that has not been validated clinically.",
        card.description,
        "## Use",
        f"```sh\npython -m spineseg predict FILM.dcm --out out --checkpoint hf://{repository}@REVISION{flag}\n```",
        "REVISION is a commit of this repository, for the same weights for good, or a tag.",
        "## What it is",
        f"{network} on a grid of {card.grid.rows} x {card.grid.columns}; answers {decoder}.",
        "## Scores",
        _scores_table(card.scores),
        "## Where the weights came from",
        _origin_list(card.origin),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scores_table(scores: Mapping[str, Any]) -> str:
    """One row for each set of films; a score that holds further scores stays in the JSON card."""
    if not scores:
        return "None measured."
    rows = {name: row if isinstance(row, Mapping) else {"score": row} for name, row in scores.items()}
    plain = {name: {k: v for k, v in row.items() if not isinstance(v, Mapping | list)} for name, row in rows.items()}
    columns = list(dict.fromkeys(key for row in plain.values() for key in row))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(str(row.get(key, "")) for key in columns)] for name, row in plain.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _origin_list(origin: Mapping[str, Any]) -> str:
    """Everything but the settings, which the JSON card holds."""
    known = {name: value for name, value in origin.items() if name != "settings"}
    if not known:
        return "Not recorded."
    return "\n".join(
        f"- {name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in known.items()
    )
