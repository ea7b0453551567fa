"""Simulated lateral lumbar films with their exact masks.

`simulate_case` draws one; `write_folder` writes the layout that `train` and `evaluate` read. Bones come from one of two
sources, so that a network cannot rely on one simulator's look. One needs nothing but this package: outlines in the
sagittal plane with a thickness for every structure (`anatomy`), a hundredth of the cost of ray casting. The other
projects meshes of real bones, which are read from a folder (`atlas`, `bones`). What sick spines show is drawn by kind
and degree (`findings`), stands on the film's card (`Case.findings`), and is off by default (`SickConfig.share`).
"""

from spineseg.simulate.atlas import build_atlas, load_atlas, save_atlas
from spineseg.simulate.case import SimulateConfig, exact_masks, simulate_case, true_corners, write_folder
from spineseg.simulate.config import KINDS, SickConfig, only

__all__ = [
    "KINDS",
    "SickConfig",
    "SimulateConfig",
    "build_atlas",
    "exact_masks",
    "load_atlas",
    "only",
    "save_atlas",
    "simulate_case",
    "true_corners",
    "write_folder",
]
