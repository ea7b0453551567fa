"""Several processes that torchrun starts: each film once, one table, the same bytes as from one process."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import simulate_films, write_checkpoint

from spineseg.cli import main
from spineseg.film import BadInput
from spineseg.io.processes import ALONE, Processes, connected


def test_shares_are_disjoint_and_hold_every_film():
    shares = [list(Processes(index, 3).share(range(8))) for index in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert list(ALONE.share(range(3))) == [0, 1, 2]


def test_processes_that_are_not_connected_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInput, match="expected 2 connected processes"):
        connected()


@pytest.mark.parametrize(("count", "rank"), [("two", "0"), ("2", "2"), ("2", "-1"), ("2", "first")])
def test_numbers_of_processes_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, count: str, rank: str):
    for name, value in {"WORLD_SIZE": count, "RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=f"expected {count} connected processes, as WORLD_SIZE states"):
        connected()


def two_processes(*arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "spineseg"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([*launcher, *arguments], capture_output=True, text=True, env=environment, timeout=300)


def results(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.npy")}


def table(path: Path, *apart_from: str) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return [{key: cell for key, cell in row.items() if key not in apart_from} for row in csv.DictReader(stream)]


def test_two_processes_answer_as_one_and_a_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = simulate_films(tmp_path / "data", 5)
    write_checkpoint(checkpoint := tmp_path / "tiny.safetensors", contrast=20)
    (data / "img" / "bad.dcm").write_bytes((data / "img" / "S001-00001.dcm").read_bytes()[:3000])
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    given = ["predict", str(data / "img"), "--checkpoint", str(checkpoint), "--out"]
    assert main([*given, str(alone)]) == 1
    done = two_processes(*given, str(shared))
    assert done.returncode and "5 of 6 films segmented into" in done.stdout and done.stdout.count("128 x") == 5
    assert results(shared) == results(alone) and len(results(alone)) == 5
    assert table(shared / "films.csv", "seconds") == table(alone / "films.csv", "seconds")

    capsys.readouterr()
    (data / "img" / "bad.dcm").unlink()
    (alone / "S001-00002.npy").unlink()
    assert main([*given, str(alone)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("S001-00002.dcm: 128 x") and len(printed) == 2
    assert printed[1].endswith("5 of 5 films segmented into " + str(alone) + ", 4 of them earlier, 0 files left out")
    assert results(shared) == results(alone)

    given = ["evaluate", "--data", str(data), "--checkpoint", str(checkpoint), "--out"]
    assert main([*given, str(tmp_path / "one")]) == 0
    done = two_processes(*given, str(tmp_path / "two"))
    assert done.returncode == 0 and done.stdout.count("tiny: 5 films") == 1, done.stderr
    for name in ("dice.csv", "films.csv"):
        assert table(tmp_path / "two" / name, "seconds") == table(tmp_path / "one" / name, "seconds")
