"""Fit the lumbar shape statistic that the simulator ships: mean and principal modes of 24 body corners.

Usage: python -m tools.fit_lumbar_shape lumbar_outlines.json spineseg/simulate/lumbar_shape.json

The outlines are those of 502 people in a mid-sagittal MRI slice (Roboflow Universe project-h1lhu/backspine v3,
CC BY 4.0). Each outline is reduced to the quadrilateral of largest area through its points; each spine is moved to
the centre of its L3, turned so that L3's endplates lie level, and scaled to an L3 depth of 1.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import cv2
import numpy as np

VERTEBRAE = ("L1", "L2", "L3", "L4", "L5", "S1")
ATTRIBUTION = "Computed from Roboflow Universe project-h1lhu/backspine v3 (CC BY 4.0), 502 mid-sagittal MRI outlines."


def largest_quadrilateral(points: np.ndarray) -> np.ndarray:
    """The four hull points of an outline that enclose the largest area, (4, 2), in the hull's order."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0]
    quads = (hull[list(q)] for q in itertools.combinations(range(len(hull)), 4))
    return max(quads, key=lambda q: cv2.contourArea(q.astype(np.float32)))


def ordered_corners(quad: np.ndarray, cranial: np.ndarray) -> np.ndarray:
    """Corners as cranial-anterior, cranial-posterior, caudal-posterior, caudal-anterior; anterior is to the left.

    cranial: direction from this vertebra towards the head, (x, y) with y downwards.
    """
    posterior = np.array([-cranial[1], cranial[0]])
    if posterior[0] < 0:
        posterior = -posterior
    relative = quad - quad.mean(0)
    up, back = relative @ cranial, relative @ posterior
    upper, lower = np.argsort(-up)[:2], np.argsort(-up)[2:]
    upper, lower = upper[np.argsort(back[upper])], lower[np.argsort(back[lower])]
    return quad[[upper[0], upper[1], lower[1], lower[0]]]


def spine_corners(outlines: dict[str, list]) -> np.ndarray:
    """(6, 4, 2) corners of one person in units of L3's depth, L3 centred and level."""
    quads = np.stack([largest_quadrilateral(np.asarray(outlines[v])) for v in VERTEBRAE])
    centres = quads.mean(1)
    tangent = np.gradient(centres, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    corners = np.stack([ordered_corners(q, -t) for q, t in zip(quads, tangent, strict=True)])
    l3 = corners[2]
    endplate = (l3[1] - l3[0]) + (l3[2] - l3[3])
    angle = np.arctan2(endplate[1], endplate[0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (corners - l3.mean(0)) @ turn.T / (np.linalg.norm(endplate) / 2)


def main(source: Path, target: Path) -> None:
    """Read the outlines, write the statistic, say how much was kept."""
    spines = np.stack([spine_corners(person) for person in json.loads(source.read_text()).values()])
    flat = spines.reshape(len(spines), -1)
    far = np.abs((flat - np.median(flat, 0)) / (flat.std(0) + 1e-9)).max(1)
    flat = flat[far < 4]
    mean = flat.mean(0)
    _, singular, modes = np.linalg.svd(flat - mean, full_matrices=False)
    deviation = singular / np.sqrt(len(flat) - 1)
    kept = int(np.searchsorted(np.cumsum(deviation**2) / (deviation**2).sum(), 0.98)) + 1
    shape = {
        "attribution": ATTRIBUTION,
        "people": len(flat),
        "vertebrae": VERTEBRAE,
        "corners": ["cranial anterior", "cranial posterior", "caudal posterior", "caudal anterior"],
        "mean": mean.round(5).tolist(),
        "deviation": deviation[:kept].round(5).tolist(),
        "modes": modes[:kept].round(5).tolist(),
    }
    target.write_text(json.dumps(shape) + "\n")
    print(f"{len(flat)} of {len(spines)} people, {kept} modes, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
