"""Write the simulated films that the page offers, what the published weights make of each, and a picture of them all.

Usage: python -m tools.make_examples examples docs/examples.png

The picture has the true masks. To be run anew when the weights in `checkpoints/` or the simulator change.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from spineseg.film import Case
from spineseg.inference.segmenter import Segmenter
from spineseg.io.dicom_write import write_film
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.io.films import read_film
from spineseg.io.pictures import write_png
from spineseg.render import overlay
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui.examples import write_result

SEED = 71
CHOSEN = {"pelvis in view": 6, "leaning": 53, "facing right": 164, "screws and rod": 93, "sacrum cut off": 5}
"""The name of each, and which film of the series; no training saw it (`runs/spineseg.sh` has the trainings' seeds)."""
ROWS, SHOWN_ROWS = 1024, 460


def shown(case: Case) -> np.ndarray:
    """A film with its masks, (rows, columns, rgb), made small."""
    picture = overlay(case.film, case.masks)
    columns = round(picture.shape[1] * SHOWN_ROWS / picture.shape[0])
    return cv2.resize(picture, (columns, SHOWN_ROWS), interpolation=cv2.INTER_AREA)


def main(folder: Path, sheet: Path) -> None:
    """Each film with its result; all of them side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = {name: simulate_case(SEED, index, SimulateConfig(rows=ROWS)) for name, index in CHOSEN.items()}
    segmenter = Segmenter.load(DEFAULT_CHECKPOINT, "cpu")
    for number, (name, case) in enumerate(cases.items(), 1):
        path = folder / f"{number}-{name.replace(' ', '-')}.dcm"
        write_film(path, case.film)
        film = read_film(path)
        segmenter(film)  # the first run of a size is slower, and the page states the seconds
        write_result(path, film, segmenter(film), DEFAULT_CHECKPOINT, asdict(segmenter.card))
    write_png(sheet, np.hstack([shown(case) for case in cases.values()]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
