"""A ZeroGPU Space: `app.py` with the real package `spaces`, before a stand-in for the service that lends GPUs."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from ui_fakes import FILM

from spineseg.inference.onnx_network import OnnxNetwork
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.views import Channels, Probabilities, View
from spineseg.io.films import read_film
from spineseg.ui import texts
from spineseg.ui.correction import BadRequest
from spineseg.ui.zero_gpu import LONGEST_S, Borrowing

ROOT = Path(__file__).parents[2]
CHECKPOINT, EXAMPLE = ROOT / "checkpoints" / "spineseg.safetensors", ROOT / "examples" / "2-leaning.dcm"
HAS_GPU = torch.cuda.is_available()
GPU = f"GPU-{torch.cuda.get_device_properties(0).uuid}" if HAS_GPU else "GPU-0"
MOST_BYTES = 12 * 2**20


class Service(ThreadingHTTPServer):
    """Lends the GPUs of `lent`, one a film, None for a visitor whose quota is spent; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.lent: list[tuple[str, bool] | None] = []
        super().__init__(("127.0.0.1", 0), Answers)

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and content. A GPU is given with whether the process of the last film may be used again."""
        if path != "/schedule":
            return 200, {}
        if (gpu := self.lent.pop(0)) is None:
            return 429, {"left": 3, "wait": 600}
        return 200, {"idle": gpu[1], "nvidiaIndex": 0, "nvidiaUUID": gpu[0], "allowToken": "token"}

    def asked_since(self) -> list[str]:
        """Which calls came since this was last asked."""
        names, self.asked = [name for name, _ in self.asked], []
        return names


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Service)
        url = urlsplit(self.path)
        self.server.asked.append((url.path, {key: value for key, (value,) in parse_qs(url.query).items()}))
        status, content = self.server.answer(url.path)
        body = json.dumps(content).encode()
        self.send_response(status)
        for header in (("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@dataclass
class Space:
    service: Service
    client: Client
    log: Path

    def segment(self) -> np.ndarray:
        return np.load(self.client.predict(handle_file(EXAMPLE), api_name="/segment"))

    def refusal(self) -> str:
        with pytest.raises(AppError) as caught:
            self.segment()
        return str(caught.value)


def environment(folder: Path, port: int) -> dict[str, str]:
    """Of a ZeroGPU Space. One thread: a network on the CPU, where there is no GPU, would hang in the forked process."""
    kept = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    return {
        **kept,
        "SYSTEM": "spaces",
        "SPACE_ID": "ann/spine",
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{port}",
        "ZEROGPU_OFFLOAD_DIR": str(folder / "tensors"),
        "ZEROGPU_MMAP_AUTOPRUNE_PATTERN": str(folder / "none"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("space")
    program = "app.py" if HAS_GPU else "tests/zero_gpu_app.py"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, program, f"--checkpoint={CHECKPOINT}", f"--port={port}"]
    with Service() as service, (folder / "log").open("w") as log:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        options: dict[str, Any] = {"cwd": ROOT, "env": environment(folder, service.server_address[1]), "text": True}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, **options) as process:
            assert process.stdout
            said = next((line for line in process.stdout if line.startswith("spineseg is at ")), "")
            assert said, (folder / "log").read_text()
            drain = threading.Thread(target=process.stdout.read)
            drain.start()
            try:
                yield Space(service, Client(said.split()[3], verbose=False), folder / "log")
            finally:
                process.terminate()
                process.wait(60)
                drain.join()
                service.shutdown()


def test_a_film_borrows_a_gpu_and_gets_the_array_that_predict_writes(space: Space, tmp_path: Path) -> None:
    service = space.service
    assert service.asked_since() == ["/startup-report"]
    service.lent = [(GPU, False), (GPU, True)]
    first = space.segment()
    (_, asked), *_, (_, released) = service.asked
    assert (asked["durationSeconds"], released["fail"]) == (str(LONGEST_S), "false")
    assert service.asked_since() == ["/schedule", "/allow", "/release"]
    again = space.segment()
    assert service.asked_since() == ["/schedule", "/release"], "the forked process is used again"
    command = [sys.executable, "-m", "spineseg", "predict", EXAMPLE, "--out", tmp_path, "--checkpoint", CHECKPOINT]
    subprocess.run([*command, "--device", "cpu"], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    (expected,) = (np.load(path) for path in tmp_path.glob("*.npy"))
    assert np.array_equal(first, again)
    assert np.count_nonzero(first != expected) <= (1e-4 * expected.size if HAS_GPU else 0)


def test_a_spent_quota_is_said_in_one_sentence(space: Space) -> None:
    space.service.lent = [None]
    told = "Space app has reached its GPU limit. Try re-running outside of examples if it happened after clicking one"
    assert space.refusal() == texts.NO_GPU.format(told)
    assert space.service.asked_since() == ["/schedule"]


@pytest.mark.skipif(HAS_GPU, reason="only the stand-in for a GPU can be told to fail")
@pytest.mark.parametrize(("gpu", "why"), [("full", "OutOfMemoryError"), ("broken", "GPU task aborted")])
def test_a_task_that_fails_is_said_and_nothing_is_tried_on_the_cpu(space: Space, gpu: str, why: str) -> None:
    space.service.lent = [(gpu, False)]
    before = space.log.read_text()
    assert space.refusal() == texts.NO_GPU.format(why)
    assert space.service.asked[-1][1]["fail"] == "true"
    assert space.service.asked_since() == ["/schedule", "/allow", "/release"]
    logged = space.log.read_text().removeprefix(before)
    assert "CPU" not in logged and "2.00 GiB" not in logged


def test_the_next_film_is_segmented_again(space: Space) -> None:
    space.service.lent = [(GPU, False)]
    assert space.segment().shape == (*read_film(EXAMPLE).shape, 7)


# ---- what travels ----


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(CHECKPOINT, "cpu")


def test_what_travels_is_small_and_pickled_and_the_masks_are_the_same(segmenter: Segmenter) -> None:
    sizes = []

    def elsewhere(channels: Channels, views: Sequence[View]) -> tuple[Probabilities, float]:
        request = pickle.dumps((("spineseg", channels, views), {}))
        result = pickle.dumps(segmenter.with_turned(*pickle.loads(request)[0][1:]))
        sizes.extend([len(request), len(result)])
        return pickle.loads(result)

    film = read_film(EXAMPLE)
    there, here = Borrowing(segmenter, elsewhere)(film), segmenter(film)
    assert np.array_equal(there.masks, here.masks) and there.levels == here.levels
    assert len(sizes) == 2 and max(sizes) < MOST_BYTES


def test_where_no_gpu_was_lent_no_network_runs_here(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> tuple[Probabilities, float]:
        raise gr.Error("GPU task aborted", title="ZeroGPU worker error", print_exception=False)

    def full(*_: object) -> tuple[Probabilities, float]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(OnnxNetwork, "__call__", lambda *_: pytest.fail("the network ran here"))
    monkeypatch.setattr(segmenter, "device", "cuda")
    with pytest.raises(BadRequest, match=r"^The GPU that .* \(GPU task aborted\); try again later$"):
        Borrowing(segmenter, refused)(FILM)
    with pytest.raises(torch.OutOfMemoryError):
        segmenter(FILM, full)
