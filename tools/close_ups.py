"""Crop labelled films to their vertebrae, as the second look of the network sees them, into a folder of their own.

Usage: python -m tools.close_ups DATA OUT SEED FILM...

The margin on each side is drawn from `MARGIN`, a share of the height of all bodies.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from spineseg.film import Case, bounding_box
from spineseg.io.folder import find_films, read_case, write_case

MARGIN = (0.1, 0.5)


def close_up(case: Case, rng: np.random.Generator) -> Case:
    """The film and its masks, cropped. Raises ValueError for a film without vertebrae."""
    rows, columns = bounding_box(np.asarray(case.masks.any(0)))
    height = rows.stop - rows.start
    if not height:
        raise ValueError(f"{case.name} shows no vertebra")
    top, bottom, left, right = (round(share * height) for share in rng.uniform(*MARGIN, 4))
    film_rows, film_columns = case.film.shape
    kept = (
        slice(max(rows.start - top, 0), min(rows.stop + bottom, film_rows)),
        slice(max(columns.start - left, 0), min(columns.stop + right, film_columns)),
    )
    film = replace(case.film, image=np.ascontiguousarray(case.film.image[kept]))
    return replace(case, film=film, masks=np.ascontiguousarray(case.masks[:, kept[0], kept[1]]))


def main(data: Path, out: Path, seed: int, names: list[str]) -> None:
    """Crop the films of these names."""
    wanted = set(names)
    for number, files in enumerate(files for files in find_films(data) if files.name in wanted):
        case = close_up(read_case(files), np.random.default_rng([seed, number]))
        write_case(out, replace(case, name=f"{case.name}-close"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
