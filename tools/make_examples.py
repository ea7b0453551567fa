"""Write the simulated films that the page offers, as in `python tools/make_examples.py examples`."""

from __future__ import annotations

import sys
from pathlib import Path

from spineseg.dicom import write_film
from spineseg.simulate import SimulateConfig, simulate_case

SEED = 7
CHOSEN = {"upright": 1, "pelvis in view": 9, "bowel and ribs": 13, "sacrum cut off": 14}
"""The button's text, and which film of the series."""


def main(folder: Path) -> None:
    """One film of 1024 rows for each button."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, index) in enumerate(CHOSEN.items(), 1):
        case = simulate_case(SEED, index, SimulateConfig(rows=1024))
        write_film(folder / f"{number}-{name.replace(' ', '-')}.dcm", case.film)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
