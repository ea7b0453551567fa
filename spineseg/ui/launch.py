"""Starts the page: reads the command line, loads models, serves."""

from __future__ import annotations

import argparse
import asyncio
import atexit
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if "GRADIO_TEMP_DIR" not in os.environ:  # uploads lie in a folder of this process, removed when it ends
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="spineseg-")
    atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)

from spineseg.allocator import limit_arenas
from spineseg.film import BadInput
from spineseg.io.files import shipped
from spineseg.io.isolation import read_film_isolated, read_label_isolated, start_ahead
from spineseg.ui.access import account
from spineseg.ui.handlers import Model
from spineseg.ui.mcp_tools import require_mcp
from spineseg.ui.page import build_page
from spineseg.ui.server import LazyModels, filter_logs, serve
from spineseg.ui.zero_gpu import ON_ZERO_GPU, on_borrowed_gpu

if TYPE_CHECKING:
    import gradio as gr

    from spineseg.inference.segmenter import Segmenter


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, starts the page, says where it is, and waits."""
    parser = argparse.ArgumentParser(description="Serve the spineseg page.")
    parser.add_argument(
        "--checkpoint",
        action="append",
        metavar="FILE",
        help="*.safetensors, or hf://owner/name@revision; repeatable "
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
    parser.add_argument("--port", type=int, help="(default: GRADIO_SERVER_PORT, else the first free one from 7860)")
    parser.add_argument("--mcp", action="store_true", help="offer /segment and /measure as MCP tools too")
    chosen = parser.parse_args(arguments)
    try:
        login = account()
        if chosen.mcp:
            require_mcp(login)
    except BadInput as error:
        parser.error(str(error))
    checkpoints = (
        chosen.checkpoint or from_environment() or [str(path) for path in shipped_checkpoints(shipped("checkpoints"))]
    )
    missing = [name for name in checkpoints if not name.startswith("hf://") and not Path(name).is_file()]
    if missing or not checkpoints:
        parser.error(f"expected a checkpoint, found none at {', '.join(missing) or 'checkpoints/'}; give --checkpoint")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that uploads go with the server, however it is stopped
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    filter_logs()
    limit_arenas()
    known = tuple(chosen.architecture)
    loaders = {name: partial(load, checkpoint, known) for name, checkpoint in named(checkpoints).items()}
    try:
        models = on_borrowed_gpu(loaders) if ON_ZERO_GPU else LazyModels(loaders)
    except BadInput as error:
        parser.error(str(error))
    threading.Thread(target=start_ahead, daemon=True).start()
    try:
        page, address = asyncio.run(start(models, chosen.host, chosen.port, login, mcp=chosen.mcp))
    except (OSError, OverflowError):
        parser.error(f"expected a free port, got {chosen.port or 'none free from 7860'}; choose another with --port")
    print(f"spineseg is at {address} (Ctrl+C stops it)", flush=True)
    page.block_thread()


async def start(
    models: Mapping[str, Model], host: str | None, port: int | None, login: tuple[str, str] | None, *, mcp: bool = False
) -> tuple[gr.Blocks, str]:
    """The page, served in a thread, and its address.

    A coroutine because Gradio makes an event loop for each lock where none runs, and never closes it. The garbage
    collector may close such a loop's sockets before the loop, which Python 3.12 then reports at length.
    """
    page = build_page(models, read_film_isolated, read_label_isolated, shipped("examples"))
    return page, serve(page, host, port, login, mcp=mcp)


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
