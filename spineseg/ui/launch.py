"""Starts the page: reads the command line, loads models, serves.

Gradio is imported in `main`, once a signal can end the process and there is a folder for uploads.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import gc
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from spineseg.allocator import limit_arenas
from spineseg.film import BadInput
from spineseg.io.files import shipped
from spineseg.io.isolation import close_readers, read_film_isolated, read_label_isolated, start_ahead
from spineseg.ui.access import account, reachable_by_others

if TYPE_CHECKING:
    import gradio as gr

    from spineseg.inference.segmenter import Segmenter


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, starts the page, says where it is, and waits."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        login = account()
    except BadInput as error:
        parser.error(str(error))
    by_name = {Path(path).stem: path for path in shipped_checkpoints(shipped("checkpoints"))}
    checkpoints = [by_name.get(name, name) for name in chosen.checkpoint or from_environment() or by_name]
    missing = [name for name in checkpoints if not name.startswith("hf://") and not Path(name).is_file()]
    if missing or not checkpoints:
        parser.error(f"expected a checkpoint, found none at {', '.join(missing) or 'checkpoints/'}; give --checkpoint")
    known = tuple(chosen.architecture)
    offered = named(checkpoints)
    loaders = {name: partial(load, checkpoint, known) for name, checkpoint in offered.items()}
    end = partial(end_process, os.getpid(), own_upload_folder())
    for stopped_by in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stopped_by, lambda *_: end(0))
    limit_arenas()
    if problem := address_problem(chosen.host, os.environ.get("GRADIO_SERVER_PORT", "")):
        parser.error(problem)
    if chosen.collect and not chosen.collect_from_others and reachable_by_others(chosen.host):
        parser.error(
            "--collect keeps the films of all who can open this page, and others can; "
            "leave it out, or add --collect-from-others"
        )
    threading.Thread(target=start_ahead, daemon=True).start()
    gc.disable()  # looking for garbage takes a tenth of the start, which makes nearly none
    try:
        collects = {"collect_in": chosen.collect, "collect_from_others": chosen.collect_from_others}
        serving = start(loaders, offered, chosen.host, chosen.port or None, login, mcp=chosen.mcp, **collects)
        page, address = asyncio.run(serving)
    except BadInput as error:
        parser.error(str(error))
    except (OSError, OverflowError):
        taken = chosen.port or "none free from 7860"
        print(f"{parser.prog}: error: expected a free port, got {taken}; choose another with --port", file=sys.stderr)
        end(2)
    gc.freeze()  # what was made by now stays
    gc.enable()
    print(f"spineseg is at {address} (Ctrl+C stops it)", flush=True)
    page.block_thread()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve the spineseg page.")
    parser.add_argument(
        "--checkpoint",
        action="append",
        metavar="FILE",
        help="*.safetensors, hf://owner/name@revision, or a shipped one by name, as spineseg; repeatable "
        "(default: SPINESEG_CHECKPOINT, several separated by commas; else all of checkpoints/)",
    )
    parser.add_argument(
        "--architecture",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="network of your own that a checkpoint may hold the weights of; repeatable",
    )
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="0: a free one (default: GRADIO_SERVER_PORT, else one from 7860)")
    parser.add_argument(
        "--collect",
        type=Path,
        metavar="DIR",
        help="training folder: the page adds films to it with their masks, one press each",
    )
    parser.add_argument(
        "--collect-from-others", action="store_true", help="let --collect keep films of visitors on other machines too"
    )
    parser.add_argument("--mcp", action="store_true", help="offer /segment and /measure as MCP tools too")
    return parser


def address_problem(host: str | None, port: str) -> str:
    """Why Gradio, which tries port after port, could not listen there; empty where it can.

    host: as given, without which GRADIO_SERVER_NAME counts. port: of the environment.
    """
    if port and not port.isdecimal():
        return f"expected a number in GRADIO_SERVER_PORT, got {port}; correct it"
    name = (host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1").strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except OSError:
        return f"expected an address of this machine, got {name}; choose another with --host"
    return ""


def make_collection(folder: Path) -> None:
    """Make the folder of `--collect`, and try whether it can be written. Raises BadInput."""
    from spineseg.io.folder import make_folder  # loads pydicom

    try:
        make_folder(folder)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise BadInput(f"expected a folder that can be written as --collect, got: {reason}; name another") from None


def own_upload_folder() -> str | None:
    """A new folder for uploads, removed when the process ends; None where GRADIO_TEMP_DIR names one that stays."""
    if "GRADIO_TEMP_DIR" in os.environ:
        return None
    folder = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="spineseg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def end_process(server: int, uploads: str | None, status: int) -> NoReturn:
    """End this process at once, while models load too, and leave nothing of a film.

    An exception would be swallowed in a callback of the import system, and the interpreter waits for every thread.
    server: its process. In a fork of it, which a borrowed GPU runs in, nothing is removed.
    """
    for signal_number in (signal.SIGTERM, signal.SIGINT):  # `timeout` sends its signal twice
        signal.signal(signal_number, signal.SIG_IGN)
    if os.getpid() == server:
        for borrowed_gpu in multiprocessing.active_children():
            borrowed_gpu.kill()
        close_readers()
        if uploads:
            shutil.rmtree(uploads, ignore_errors=True)
    os._exit(status)


async def start(
    loaders: Mapping[str, Callable[[], Segmenter]],
    checkpoints: Mapping[str, str],
    host: str | None,
    port: int | None,
    login: tuple[str, str] | None,
    *,
    mcp: bool = False,
    collect_in: Path | None = None,
    collect_from_others: bool = False,
) -> tuple[gr.Blocks, str]:
    """The page, served in a thread, and its address. Raises BadInput, or OSError where the port is taken.

    loaders, checkpoints: by name, what loads a model and its file. collect_in: the training folder of `--collect`.
    collect_from_others: visitors' films too.

    A coroutine because Gradio makes an event loop for each lock where none runs, and never closes it. The garbage
    collector may close such a loop's sockets before the loop, which Python 3.12 then reports at length.
    """
    from spineseg.ui.examples import PUBLISHED, is_published
    from spineseg.ui.mcp_tools import require_mcp
    from spineseg.ui.page import build_page
    from spineseg.ui.server import LazyModels, filter_logs, serve
    from spineseg.ui.zero_gpu import ON_ZERO_GPU, on_borrowed_gpu

    if mcp:
        require_mcp(login)
    if collect_in:
        make_collection(collect_in)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    filter_logs()
    models = on_borrowed_gpu(loaders) if ON_ZERO_GPU else LazyModels(loaders)
    published = next((name for name, file in checkpoints.items() if is_published(Path(file))), PUBLISHED)
    read, collects = (read_film_isolated, read_label_isolated), (collect_in, collect_from_others)
    page = build_page(models, *read, shipped("examples"), published, *collects)
    address = serve(page, host, port, login, mcp=mcp)
    if isinstance(models, LazyModels):
        models.start()  # not before: loading would hold up the server, as Python runs one thread at a time
    return page, address


def from_environment() -> list[str]:
    """The checkpoints that SPINESEG_CHECKPOINT names, separated by commas."""
    return [name for part in os.environ.get("SPINESEG_CHECKPOINT", "").split(",") if (name := part.strip())]


def shipped_checkpoints(folder: Path) -> list[str]:
    """Every checkpoint of the folder that has a card, the published one first."""
    found = sorted(folder.glob("*.safetensors"), key=lambda path: (path.stem != "spineseg", path.stem))
    return [str(path) for path in found if path.with_suffix(".json").is_file()]


def named(checkpoints: Sequence[str]) -> dict[str, str]:
    """Each checkpoint by a short name; with its folder or revision where two would share one.

    A file goes by its own name, `hf://owner/name@revision` by name.
    """
    short = [_short(name)[-1] for name in checkpoints]
    return {
        last if short.count(last) == 1 else "/".join(_short(name)): name
        for name, last in zip(checkpoints, short, strict=True)
    }


def _short(checkpoint: str) -> tuple[str, str]:
    """What tells it apart from one of the same name (folder, revision), and its name."""
    if checkpoint.startswith("hf://"):
        repository, _, revision = checkpoint.partition("@")
        return revision[:12], repository.rpartition("/")[2]
    return Path(checkpoint).resolve().parent.name, Path(checkpoint).stem


def load(checkpoint: str, architectures: Sequence[str] = ()) -> Segmenter:
    """Fetches what is on the Hub; imports torch only here, in the loading thread. Raises BadInput.

    architectures: those besides the U-Net that the user named; a checkpoint of any other is refused.
    """
    from spineseg.inference.segmenter import Segmenter
    from spineseg.model.card import UNET, read_card
    from spineseg.model.hub import resolve

    architecture = read_card(resolve(checkpoint)).architecture
    return Segmenter.load(checkpoint, architecture=architecture if architecture in architectures else UNET)
