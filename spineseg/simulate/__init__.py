"""Simulated lateral lumbar films with their exact masks, from nothing but this package.

`simulate_case` draws one; `write_folder` writes the layout that `train` and `evaluate` read. The geometry is
two-dimensional in the sagittal plane with a thickness for every structure (see `anatomy`), which costs a hundredth of
ray casting through meshes and lets every amount be drawn afresh for each film.
"""

from spineseg.simulate.case import SimulateConfig, simulate_case, write_folder

__all__ = ["SimulateConfig", "simulate_case", "write_folder"]
