"""Write the simulated films that the page offers, as in `python -m tools.make_examples examples`."""

from __future__ import annotations

import sys
from pathlib import Path

from spineseg.dicom import write_film
from spineseg.simulate import SimulateConfig, simulate_case

SEED = 7
CHOSEN = {"pelvis in view": 4, "leaning": 11, "facing right": 12, "screws and rod": 15, "sacrum cut off": 14}
"""The button's text, and which film of the series."""


def main(folder: Path) -> None:
    """One film of 1024 rows for each button."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, index) in enumerate(CHOSEN.items(), 1):
        case = simulate_case(SEED, index, SimulateConfig(rows=1024))
        write_film(folder / f"{number}-{name.replace(' ', '-')}.dcm", case.film)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
