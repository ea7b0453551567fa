"""Choose the verdict's two thresholds on simulated films, whole and spoiled in the six ways of benchmarks/accuracy.py.

Usage: python tools/calibrate_verdict.py [--films 100] [--checkpoint FILE] [--atlas FILE]

A verdict costs trust when a wrong answer is called sure, and a look when a right one is called unsure. Every pair of
thresholds is tried; of those that let no more than `--allowed` of the wrong answers pass, the one that flags fewest
right answers on untouched films is printed, with the counts and with how often each of the other rules speaks. No real
film is used. With --atlas (spineseg.simulate.save_atlas) every other film has projected bones.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import SPOILERS
from spineseg.film import Case
from spineseg.levels import LevelConfig
from spineseg.metrics import levels_right
from spineseg.predict import Segmenter
from spineseg.simulate import SimulateConfig, load_atlas, simulate_case

SEED = 9500
THRESHOLD_REASONS = ("level uncertain", "another naming")


@dataclass(frozen=True)
class Outcome:
    """One film's answer: was it right, what the thresholds look at, and what the other rules said."""

    untouched: bool
    right: bool
    margin: float
    agreement: float
    other: tuple[str, ...]

    def sure(self, margin: float, agreement: float) -> bool:
        """The verdict under two thresholds."""
        return not self.other and self.margin >= margin and self.agreement > agreement


def outcome(segmenter: Segmenter, case: Case, *, untouched: bool) -> Outcome:
    """Judge one film."""
    prediction = segmenter(case.film)
    levels = prediction.levels
    others = tuple(r.partition(":")[0] for r in levels.reasons if not r.startswith(THRESHOLD_REASONS))
    agreement = min((c for c, here in zip(levels.confidence, levels.present, strict=True) if here), default=0.0)
    return Outcome(untouched, levels_right(prediction.masks, case.masks), levels.margin, agreement, others)


def main() -> None:
    """Simulate, judge, sweep, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/spineseg.safetensors"))
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--allowed", type=float, default=0.02)
    chosen = parser.parse_args()
    segmenter = Segmenter.load(chosen.checkpoint)
    atlas = load_atlas(chosen.atlas) if chosen.atlas else None
    config = SimulateConfig(rows=768, crop_probability=0.0)
    outcomes: list[Outcome] = []
    for index in tqdm(range(chosen.films)):
        case = simulate_case(SEED, index, config, atlas if index % 2 else None)
        outcomes.append(outcome(segmenter, case, untouched=True))
        outcomes += [outcome(segmenter, spoil(case), untouched=False) for spoil in SPOILERS]
    wrong = [o for o in outcomes if not o.right]
    kept = [o for o in outcomes if o.right and o.untouched]
    print(f"{len(outcomes)} films, {len(wrong)} wrong; untouched and right {len(kept)} of {chosen.films}")
    for name, group in (("wrong", wrong), ("untouched and right", kept)):
        said = [reason for o in group for reason in o.other]
        print(f"other rules on the {name}:", {r: said.count(r) for r in sorted(set(said))})
    best: tuple[float, ...] | None = None
    for margin, agreement in itertools.product(np.arange(0.0, 0.85, 0.05), np.arange(0.3, 0.85, 0.05)):
        passed = sum(o.sure(margin, agreement) for o in wrong)
        flagged = sum(not o.sure(margin, agreement) for o in kept)
        row = (flagged, passed, round(float(margin), 2), round(float(agreement), 2))
        if passed <= chosen.allowed * len(wrong) and (best is None or row < best):
            best = row
    present = LevelConfig()
    now = (present.sure_margin, present.sure_agreement)
    counts = sum(not o.sure(*now) for o in kept), sum(o.sure(*now) for o in wrong)
    print(f"now, margin {now[0]}, agreement {now[1]}: right but flagged {counts[0]}, wrong and not flagged {counts[1]}")
    if best is None:
        print("no pair of thresholds lets so few wrong answers pass")
    else:
        print(
            f"best, margin {best[2]}, agreement {best[3]}: right but flagged {best[0]}, wrong and not flagged {best[1]}"
        )


if __name__ == "__main__":
    main()
