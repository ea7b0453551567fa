"""Serves the page: `python app.py`, or with one's own models `python app.py --checkpoint A --checkpoint B`."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent

if "GRADIO_TEMP_DIR" not in os.environ:  # uploads lie in a folder of this process, removed when it ends
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="spineseg-")
    atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)

from spineseg.dicom import read_film  # noqa: E402
from spineseg.ui.handlers import Loading  # noqa: E402
from spineseg.ui.page import build_page, serve  # noqa: E402

if TYPE_CHECKING:
    from spineseg.predict import Segmenter


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, starts the page, says where it is, and waits."""
    parser = argparse.ArgumentParser(description="Serve the spineseg page.")
    parser.add_argument("--checkpoint", action="append", type=Path, metavar="FILE", help="*.safetensors; repeatable")
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="(default: GRADIO_SERVER_PORT, else the first free one from 7860)")
    chosen = parser.parse_args(arguments)
    checkpoints = chosen.checkpoint or shipped_checkpoints()
    missing = [str(path) for path in checkpoints if not path.is_file()]
    if missing or not checkpoints:
        parser.error(f"expected a checkpoint, found none at {', '.join(missing) or 'checkpoints/'}; give --checkpoint")
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    segmenters = Loading({name: partial(load, path) for name, path in named(checkpoints).items()})
    if os.environ.get("SPACES_ZERO_GPU"):  # ZeroGPU wants the models on the device before the page starts
        list(segmenters.values())
    page = build_page(segmenters, read_film, HERE / "examples")
    address = serve(page, chosen.host, chosen.port)
    print(f"spineseg is at {address} (Ctrl+C stops it)", flush=True)
    page.block_thread()


def shipped_checkpoints() -> list[Path]:
    """Every checkpoint beside this file that has a card, the published one first."""
    found = sorted((HERE / "checkpoints").glob("*.safetensors"), key=lambda path: (path.stem != "spineseg", path.stem))
    return [path for path in found if path.with_suffix(".json").is_file()]


def named(checkpoints: Sequence[Path]) -> dict[str, Path]:
    """Each checkpoint by its file's name; by its folder's too where two files, as training writes them, share one."""
    stems = [path.stem for path in checkpoints]
    return {
        path.stem if stems.count(path.stem) == 1 else f"{path.resolve().parent.name}/{path.stem}": path
        for path in checkpoints
    }


def load(path: Path) -> Segmenter:
    """Imports torch only here, in the loading thread."""
    from spineseg.predict import Segmenter

    return Segmenter.load(path)


if __name__ == "__main__":
    main()
