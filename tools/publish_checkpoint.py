"""Put a trained checkpoint into `checkpoints/`, its card completed with a description and scores.

Usage: python -m tools.publish_checkpoint RUN/last.safetensors ACCURACY.json --name spineseg --description "..."

ACCURACY.json is what `benchmarks/accuracy.py --json` wrote for that very checkpoint.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spineseg.model.checkpoint import load_checkpoint, save_checkpoint


def without_folders(origin: Mapping[str, Any]) -> dict[str, Any]:
    """The origin with each absolute path reduced to its last part, as newer runs record it at once."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in shlex.split(origin["command"])]
    settings = {
        key: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in origin["settings"].items()
    }
    return {**origin, "command": shlex.join(words), "settings": settings}


def main() -> None:
    """Load, complete the card, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("accuracy", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--description", required=True)
    parser.add_argument("--commit", help="where the code is, if the run's own commit is in no public history")
    parser.add_argument("--films", type=int, help="how many films all runs used, where the last one was not alone")
    parser.add_argument("--seconds", type=int, help="how long all runs took")
    parser.add_argument("--most-traces", type=float, help="chosen by tools/calibrate_resemblance.py for these weights")
    parser.add_argument("--out", type=Path, default=Path("checkpoints"))
    chosen = parser.parse_args()
    network, card = load_checkpoint(chosen.weights)
    accuracy = json.loads(chosen.accuracy.read_text())
    sets = {row.pop("set"): row for row in accuracy["tables"]["sets"]}
    said = {key: value for key in ("commit", "films", "seconds") if (value := getattr(chosen, key)) is not None}
    card = replace(
        card,
        name=chosen.name,
        description=chosen.description,
        origin={**without_folders(card.origin), **said},
        scores={**card.scores, **sets},
        most_traces=chosen.most_traces,
    )
    save_checkpoint(chosen.out / f"{chosen.name}.safetensors", network, card)
    print(json.dumps(card.scores, indent=2))


if __name__ == "__main__":
    main()
