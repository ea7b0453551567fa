"""Choose the verdict's five thresholds on simulated films, whole and spoiled in the ways of benchmarks/accuracy.py.

Usage: python -m tools.calibrate_verdict [--films 100] [--checkpoint FILE] [--atlas FILE]

A verdict costs trust when a wrong answer is called reliable, and a look when a right one is not. Every set of
thresholds is tried; for each number of right answers on untouched films that would be flagged, the set that lets fewest
wrong answers pass is printed, with how often each of the other rules speaks. No real film is used. With --atlas
(spineseg.simulate.save_atlas) every other film has projected bones.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.accuracy import SPOILERS
from spineseg.evaluation.metrics import levels_right
from spineseg.film import Case
from spineseg.inference.levels import LevelConfig, decode_ordered
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import bone_confidence, mean_of_bone
from spineseg.simulate import SimulateConfig, load_atlas, simulate_case

SEED = 9500
THRESHOLD_REASONS = ("level uncertain", "another naming", "the bones are hard", "outline uncertain")
MARGINS, AGREEMENTS = (0.35, 0.6, 0.8), (0.3, 0.4, 0.5, 0.6)
BONE, STRONGEST = (0.0, 0.86, 0.87, 0.88, 0.89, 0.90, 0.91, 0.92), (0.0, 0.80, 0.82, 0.84, 0.86, 0.88)
BODY = (0.0, 0.76, 0.78, 0.80, 0.82)
Thresholds = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Outcome:
    """One film's answer: was it right, what the thresholds look at, and what the other rules said."""

    spoiled: str
    right: bool
    margin: float
    agreement: float
    bone: float
    strongest: float
    body: float
    other: tuple[str, ...]

    def reliable(self, thresholds: Thresholds) -> bool:
        """The verdict under (margin, agreement, bone, strongest, body)."""
        margin, agreement, bone, strongest, body = thresholds
        levels = self.margin >= margin and self.agreement > agreement
        return not self.other and levels and self.bone >= bone and self.strongest >= strongest and self.body >= body


def outcome(segmenter: Segmenter, case: Case, spoiled: str = "") -> Outcome:
    """Judge one film."""
    prediction = segmenter(case.film)
    levels = prediction.levels
    others = tuple(r.partition(":")[0] for r in levels.reasons if not r.startswith(THRESHOLD_REASONS))
    agreement = min((c for c, here in zip(levels.confidence, levels.present, strict=True) if here), default=0.0)
    right = bool(levels_right(prediction.masks, case.masks))
    body = min(map(mean_of_bone, decode_ordered(prediction.probabilities).channels))
    confidence = bone_confidence(prediction.probabilities)
    return Outcome(spoiled, right, levels.margin, agreement, *confidence, body, others)


def sweep(outcomes: list[Outcome]) -> dict[int, tuple[int, Thresholds]]:
    """For each number of flagged right answers on untouched films, the fewest wrong ones that pass, and how."""
    wrong = [o for o in outcomes if not o.right]
    kept = [o for o in outcomes if o.right and not o.spoiled]
    best: dict[int, tuple[int, Thresholds]] = {}
    for thresholds in itertools.product(MARGINS, AGREEMENTS, BONE, STRONGEST, BODY):
        flagged = sum(not o.reliable(thresholds) for o in kept)
        found = sum(o.reliable(thresholds) for o in wrong), thresholds
        best[flagged] = min(best.get(flagged, found), found)
    return best


def main() -> None:
    """Simulate, judge, sweep, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/spineseg.safetensors"))
    parser.add_argument("--atlas", type=Path)
    chosen = parser.parse_args()
    segmenter = Segmenter.load(chosen.checkpoint)
    atlas = load_atlas(chosen.atlas) if chosen.atlas else None
    config = SimulateConfig(rows=768, crop_probability=0.0)
    outcomes: list[Outcome] = []
    for index in tqdm(range(chosen.films)):
        case = simulate_case(SEED, index, config, atlas if index % 2 else None)
        outcomes.append(outcome(segmenter, case))
        outcomes += [outcome(segmenter, spoil(case), spoil.__name__) for spoil in SPOILERS]
    wrong = [o for o in outcomes if not o.right]
    kept = [o for o in outcomes if o.right and not o.spoiled]
    print(f"{len(outcomes)} films, {len(wrong)} wrong; untouched and right {len(kept)} of {chosen.films}")
    for name, group in (("wrong", wrong), ("untouched and right", kept)):
        print(f"other rules on the {name}:", dict(Counter(reason for o in group for reason in o.other)))
    config_now = LevelConfig()
    levels = (config_now.sure_margin, config_now.sure_agreement)
    now = (*levels, config_now.sure_bone, config_now.sure_strongest, config_now.sure_body)
    rows = sweep(outcomes)
    flagged, passing = (
        sum(not o.reliable(now) for o in kept),
        Counter(o.spoiled or "untouched" for o in wrong if o.reliable(now)),
    )
    print(f"now {now}: right but flagged {flagged}, wrong and not flagged {passing.total()} {dict(passing)}")
    fewest = len(wrong) + 1
    for count in sorted(rows):
        passed, thresholds = rows[count]
        if passed < fewest:
            fewest = passed
            print(f"{thresholds}: right but flagged {count}, wrong and not flagged {passed}")


if __name__ == "__main__":
    main()
