"""Our network against what people would use instead, and against other ways to run it, on one machine in one run.

Usage: python -m benchmarks.rivals [--repeats 15] [--only NAME ...] [--device cpu] [--threads N]
Packages: requirements-bench.txt; a rival whose package is not installed is named as missing and left out.

Each rival is a process of its own that loads, says what its start cost, and then waits; all take turns at one film, so
that none's idle threads disturb another's. `start` is import, load and first answer, with the compilation where there
is one. `more MB on disk` is what it needs beyond requirements.txt. Ways to run the same network are compared with
float32 torch: the largest difference of a probability, and pixels (of a million) on another side of one half.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.timing import CHECKPOINT, ROOT, options, peak_mb, seconds_of, spread, surroundings, tell
from experiments.records import Row

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import nn

Answer = Callable[[], np.ndarray]
"""One film's probabilities, of shape (1, channel, rows, columns)."""
EXACT = 1e-3
"""Largest difference of a probability between two ways to run a network in float32."""
OURS, REPORT, ONE_CHANNEL, FULL_SIZE = "ours", "report", "one channel", "full size"
REST_S = 0.1
"""Between two turns, for threads that wait by turning round."""


@dataclass(frozen=True)
class Rival:
    """One way from input channels to probabilities.

    network: builds it, as a module that is also counted. run: what else turns it into answers. needs: packages beyond
    those of the app. kind: which input it gets. same: it is our network and is compared with our network in torch.
    exact: in float32, so that it must agree within `EXACT`. passes: of the network through its tile, for one film.
    """

    name: str
    network: Callable[[], nn.Module]
    run: Callable[[Rival, Path, str, int], Answer]
    needs: tuple[str, ...] = ()
    kind: str = OURS
    same: bool = True
    exact: bool = True
    cuda: bool = True
    passes: int = 1


# Networks


def _ours() -> nn.Module:
    from spineseg.model.checkpoint import load_checkpoint

    return load_checkpoint(CHECKPOINT)[0]


def _report() -> nn.Module:
    from experiments.the_report.recipes import REPORT_6
    from spineseg.model.unet import UNet

    return UNet(REPORT_6)


def _basic_unet() -> nn.Module:
    from monai.networks.nets.basic_unet import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=2, out_channels=6)


def _smp_unet() -> nn.Module:
    _declare_torchvision()
    import segmentation_models_pytorch as smp  # pyright: ignore[reportMissingImports]

    return smp.Unet("resnet34", encoder_weights=None, in_channels=2, classes=6)


def _nnunet() -> nn.Module:
    from benchmarks.nnunet import network

    return network()


def _declare_torchvision() -> None:
    """Let torchvision be imported beside a torch that its kernels, which this network does not use, were not built for.

    PyPI's is built for CUDA. Without its kernels it fails to import, on the two operators that it describes itself.
    """
    import torch

    folders = (find_spec("torchvision") or ModuleSpec("torchvision", None)).submodule_search_locations or ()
    for library in (path for folder in folders for path in Path(folder).glob("_C.*")):
        try:
            torch.ops.load_library(library)
        except OSError:
            for name in ("nms", "qnms"):
                torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float share) -> Tensor")


# Ways to run them


def _given(rival: Rival, folder: Path) -> np.ndarray:
    return np.load(folder / f"{rival.kind}.npy")


def _torch(
    rival: Rival,
    folder: Path,
    device: str,
    threads: int,
    *,
    half: bool = False,
    channels_last: bool = False,
    compiled: bool = False,
) -> Answer:
    """Eager, unless compiled; bfloat16 by autocast."""
    import torch

    from benchmarks.networks import Probabilities

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module: Any = Probabilities(rival.network()).eval()
    module = module.to(device, memory_format=layout)
    if compiled:
        module = torch.compile(module)
    batch = torch.from_numpy(_given(rival, folder)).to(device, memory_format=layout)

    @torch.inference_mode()
    def answer() -> np.ndarray:
        with torch.autocast(device.split(":")[0], torch.bfloat16) if half else nullcontext():
            return module(batch).float().cpu().numpy()

    return answer


def _onnxruntime(rival: Rival, folder: Path, device: str, threads: int) -> Answer:
    session = _session(_graph(), threads)
    batch = _given(rival, folder)
    return lambda: np.asarray(session.run(None, {"channels": batch})[0])


def _session(graph: bytes, threads: int) -> InferenceSession:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])


def _graph() -> bytes:
    """Of the published network, as the program builds it."""
    from spineseg.model.onnx_graph import unet_graph
    from spineseg.model.weights import read_unet

    weights, card = read_unet(CHECKPOINT)
    return unet_graph(card.network, weights)


def _openvino(rival: Rival, folder: Path, device: str, threads: int, precision: str = "f32") -> Answer:
    """Its own choice of precision is the processor's fastest, which need not be float32."""
    import openvino  # pyright: ignore[reportMissingImports]

    wish = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(_graph(), "CPU", wish)
    batch = _given(rival, folder)
    return lambda: compiled(batch)[0]


def _nnunet_predictor(rival: Rival, folder: Path, device: str, threads: int, *, mirrored: bool = True) -> Answer:
    import torch

    from benchmarks.nnunet import Predictor

    torch.set_num_threads(threads)
    predictor, film = Predictor(device, mirrored=mirrored), _given(rival, folder)
    return lambda: predictor(film)


BASELINE = Rival("ours, torch", _ours, _torch)
RIVALS = (
    BASELINE,
    Rival("ours, channels_last", _ours, partial(_torch, channels_last=True)),
    Rival("ours, bfloat16", _ours, partial(_torch, half=True), exact=False),
    Rival("ours, bfloat16, channels_last", _ours, partial(_torch, half=True, channels_last=True), exact=False),
    Rival("ours, torch.compile", _ours, partial(_torch, compiled=True)),
    Rival("ours, ONNX Runtime", _ours, _onnxruntime, cuda=False),
    Rival("ours, OpenVINO", _ours, _openvino, ("openvino",), cuda=False),
    Rival(
        "ours, OpenVINO, bfloat16", _ours, partial(_openvino, precision="bf16"), ("openvino",), exact=False, cuda=False
    ),
    Rival("report-6, 1024 x 1024", _report, _torch, kind=REPORT, same=False),
    Rival("MONAI BasicUNet", _basic_unet, _torch, ("monai",), same=False),
    Rival("smp Unet, resnet34", _smp_unet, _torch, ("segmentation-models-pytorch",), same=False),
    Rival(
        "nnU-Net, 4 mirror images",
        _nnunet,
        _nnunet_predictor,
        ("nnunetv2",),
        kind=ONE_CHANNEL,
        same=False,
        passes=4,
    ),
    Rival(
        "nnU-Net, tiles of 3000 x 2500",
        _nnunet,
        partial(_nnunet_predictor, mirrored=False),
        ("nnunetv2",),
        kind=FULL_SIZE,
        same=False,
        passes=11 * 13,
    ),
)


def absent(packages: Sequence[str]) -> list[str]:
    """Those that are not installed."""
    missing = []
    for name in packages:
        try:
            distribution(name)
        except PackageNotFoundError:
            missing.append(name)
    return missing


def without(rival: Rival, device: str) -> str | None:
    """Why a rival cannot take part, or None."""
    if missing := absent(rival.needs):
        return f"{', '.join(missing)} not installed"
    return None if rival.cuda or device == "cpu" else "runs on the CPU alone"


# On disk


def needed(packages: Sequence[str]) -> set[str]:
    """The packages and all that they need, by their plain names; what is not installed is left out."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found or absent([name]):
            continue
        found.add(name)
        wanted = (Requirement(text) for text in distribution(name).requires or ())
        waiting += [want.name for want in wanted if want.marker is None or want.marker.evaluate({"extra": ""})]
    return found


def size_mb(packages: Sequence[str]) -> float:
    """Megabytes of the packages' files as they are installed, beyond those of requirements.txt."""
    own = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    files = [file for name in needed(packages) - needed(own) for file in distribution(name).files or ()]
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


# In a rival's process


def serve(name: str, folder: Path, device: str, threads: int) -> None:
    """Load, answer once, keep that answer, say what it cost; then answer once for every line that comes."""
    rival, began = next(rival for rival in RIVALS if rival.name == name), time.perf_counter()
    answer = rival.run(rival, folder, device, threads)
    loaded = time.perf_counter()
    np.save(folder / f"{RIVALS.index(rival)}.npy", answer())
    print(json.dumps({"load_s": loaded - began, "first_s": time.perf_counter() - loaded}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": seconds_of(answer), "peak MB": round(peak_mb())}), flush=True)


_SERVE = """
import sys
from pathlib import Path
from benchmarks.rivals import serve
serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
"""


@contextmanager
def served(rival: Rival, folder: Path, device: str, threads: int) -> Iterator[tuple[subprocess.Popen[str], Row]]:
    """The rival's process, ready, and what it said of its start."""
    command = [sys.executable, "-c", _SERVE, rival.name, str(folder), device, str(threads)]
    few: dict[str, str] = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    few["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled")  # the first start counts, not one after another's
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **few}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process, _said(process)
        finally:
            process.kill()


def _said(process: subprocess.Popen[str]) -> Row:
    assert process.stdout
    for said in process.stdout:
        if said.startswith("{"):  # libraries greet
            return json.loads(said)
    raise SystemExit(f"expected an answer, got none: {process.args}")


def _turn(process: subprocess.Popen[str]) -> Row:
    assert process.stdin
    time.sleep(REST_S)
    process.stdin.write("\n")
    process.stdin.flush()
    return _said(process)


# In this process


def prepare(folder: Path) -> None:
    """Write the inputs, made of an example."""
    from benchmarks.films import EXAMPLE, enlarged
    from experiments.the_report.recipes import GRID as REPORT_GRID
    from spineseg.inference.grid import film_to_grid, normalise
    from spineseg.io.films import read_film
    from spineseg.model.card import read_card

    film = read_film(EXAMPLE)
    for name, grid in ((OURS, read_card(CHECKPOINT).grid), (REPORT, REPORT_GRID)):
        image, fit = film_to_grid(film, grid)
        channels = normalise(image, fit.inside(), grid)[None]
        np.save(folder / f"{name}.npy", channels)
        if name == OURS:
            np.save(folder / f"{ONE_CHANNEL}.npy", channels[:, :1])
    np.save(folder / f"{FULL_SIZE}.npy", enlarged(3000, 2500).image[None, None] / 4096)


def agreement(answer: np.ndarray, ours: np.ndarray) -> Row:
    """The largest difference of a probability, and how many pixels of a million lie on the other side of one half."""
    changed = np.mean((answer > 0.5) != (ours > 0.5))
    return {"largest difference": float(np.abs(answer - ours).max()), "pixels of a million": round(1e6 * changed, 1)}


def described(rival: Rival, folder: Path) -> Row:
    """Weights and work of its network on its input."""
    import torch

    from benchmarks.networks import Probabilities, multiply_adds
    from spineseg.model.unet import parameter_count

    given, network = _given(rival, folder), Probabilities(rival.network()).eval()
    tile = np.load(folder / f"{ONE_CHANNEL}.npy") if rival.kind == FULL_SIZE else given
    return {
        "input": " x ".join(map(str, given.shape[1:])),
        "weights": parameter_count(network),
        "10^9 multiply-adds": rival.passes * multiply_adds(network, torch.from_numpy(tile)) / 1e9,
    }


def compare(rivals: Sequence[Rival], folder: Path, device: str, threads: int, repeats: int) -> list[Row]:
    """A row for each, all in turns. The first must be the one that the others are compared with."""
    with ExitStack() as open_ones:
        running, rows = [], []
        for rival in rivals:
            began = time.perf_counter()
            process, start = open_ones.enter_context(served(rival, folder, device, threads))
            running.append(process)
            rows.append({"start s": time.perf_counter() - began, "of it first answer s": start["first_s"]})
            print(f"{rival.name} is ready", file=sys.stderr)
        took: list[list[Row]] = [[] for _ in rivals]
        for turn in range(repeats):
            for place in range(len(rivals)):
                which = (place + turn) % len(rivals)
                took[which].append(_turn(running[which]))
    answers = [np.load(folder / f"{RIVALS.index(rival)}.npy") for rival in rivals]
    return [
        {
            "rival": rival.name,
            **spread([each["seconds"] for each in times]),
            **described(rival, folder),
            **row,
            "peak MB": times[-1]["peak MB"],
            "more MB on disk": size_mb(rival.needs),
            **(agreement(answer, answers[0]) if rival.same else {}),
        }
        for rival, times, row, answer in zip(rivals, took, rows, answers, strict=True)
    ]


def fastest_product(threads: int, size: int = 2048, repeats: int = 20) -> float:
    """Multiply-adds a second of ONNX Runtime's product of two square matrices: what this processor can do at most."""
    from onnx import TensorProto, helper

    a, b, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "abc")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = _session(model.SerializeToString(), threads)
    given = {name: np.random.default_rng(0).random((size, size), np.float32) for name in "ab"}
    return size**3 / min(seconds_of(lambda: session.run(None, given)) for _ in range(repeats))


def with_share(rows: Sequence[Row], threads: int) -> list[Row]:
    """With how much of the processor's fastest matrix product each reaches."""
    most = fastest_product(threads)
    print(f"fastest matrix product: {most / 1e9:.0f} x 10^9 multiply-adds a second")
    share = "% of the fastest product"
    return [{**row, share: round(100 * row["10^9 multiply-adds"] * 1e12 / row["median ms"] / most)} for row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, tell; 1 if a way that should be exact is not."""
    parser = options("rivals", __doc__, 15)
    parser.add_argument("--only", nargs="*", default=[""], help="rivals whose name holds one of these; ours always")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    wanted = [rival for rival in RIVALS if rival is BASELINE or any(part in rival.name for part in chosen.only)]
    missing = {rival.name: why for rival in wanted if (why := without(rival, chosen.device))}
    rivals = [rival for rival in wanted if rival.name not in missing]
    for name, why in missing.items():
        print(f"left out: {name} ({why})")
    place = surroundings(chosen.device, [need for rival in rivals for need in rival.needs])
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        rows = compare(rivals, Path(scratch), chosen.device, chosen.threads, chosen.repeats)
    if chosen.device == "cpu":
        rows = with_share(rows, chosen.threads)
    settings = {"repeats": chosen.repeats, "device": chosen.device, "threads": chosen.threads, "missing": missing}
    tell("rivals", settings, place, {"Rivals": rows}, chosen.json)
    wrong = [
        rival.name
        for rival, row in zip(rivals, rows, strict=True)
        if rival.same and rival.exact and not row["largest difference"] < EXACT
    ]
    for name in wrong:
        print(f"{name}: expected to agree with torch within {EXACT:g}, got a larger difference", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
