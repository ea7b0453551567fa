"""A spine whose bodies are moved: what the modules of deformities and fractures change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from spineseg.simulate.shape import BodyLook, Corners, SpineShape, turn

LUMBAR = 5
"""Lumbar bodies that are named; S1 follows on them as the last of the column."""


def unit(vector: Float[np.ndarray, "xy=2"]) -> Float[np.ndarray, "xy=2"]:
    """The same direction, of length 1."""
    return vector / np.linalg.norm(vector)


def slope_deg(plate: Float[np.ndarray, "2 xy=2"]) -> float:
    """Angle of an endplate, given from front to back: above 0 where its front lies lower."""
    return float(np.degrees(np.arctan2(plate[0, 1] - plate[1, 1], plate[1, 0] - plate[0, 0])))


@dataclass(eq=False)
class Column:
    """Bodies from the highest thoracic one to S1 with their look, and what hangs on S1; changed in place.

    collapsed: indices of fractured bodies.
    """

    names: tuple[str, ...]
    bodies: Corners
    look: BodyLook
    sacral: Float[np.ndarray, "sacral corner=4 xy=2"]
    hip_mm: Float[np.ndarray, "xy=2"]
    pelvic_turn_deg: float
    collapsed: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, spine: SpineShape) -> Column:
        """A copy of a spine's bodies."""
        return cls(
            spine.column_names,
            spine.column,
            replace(spine.look, intact=spine.column, bent=True),
            spine.sacral.copy(),
            spine.hip_mm.copy(),
            spine.pelvic_turn_deg,
        )

    def spine(self) -> SpineShape:
        """As the painters take it."""
        thoracic = len(self.bodies) - LUMBAR - 1
        return SpineShape(
            lumbar=self.bodies[thoracic:],
            thoracic=self.bodies[:thoracic][::-1],
            sacral=self.sacral,
            hip_mm=self.hip_mm,
            pelvic_turn_deg=self.pelvic_turn_deg,
            look=self.look,
        )

    @property
    def first_lumbar(self) -> int:
        """Index of L1."""
        return len(self.bodies) - LUMBAR - 1

    def depth(self, index: int) -> float:
        """Length (mm) of a body's upper endplate."""
        return float(np.linalg.norm(self.bodies[index, 1] - self.bodies[index, 0]))

    def move_above(self, index: int, by: Float[np.ndarray, "xy=2"]) -> None:
        """Shift all bodies above one."""
        self.bodies[:index] += by
        self.look.intact[:index] += by

    def turn_above(self, index: int, centre: Float[np.ndarray, "xy=2"], angle_deg: float) -> None:
        """Turn all bodies above one about a point; above 0 backwards."""
        for corners in (self.bodies, self.look.intact):
            corners[:index] = turn(corners[:index], centre, angle_deg)

    def gap_mm(self, joint: int) -> float:
        """Least height of the disc above body `joint` where the two endplates face each other."""
        upper, lower = self.bodies[joint - 1], self.bodies[joint]
        gaps = [_height(point, lower[0], lower[1]) for point in upper[2:]]
        gaps += [_height(point, upper[2], upper[3]) for point in lower[:2]]
        facing = [gap for gap, share in gaps if -0.25 <= share <= 1.25]
        return min(facing) if facing else min(gap for gap, _ in gaps)

    def set_gap(self, joint: int, gap_mm: float) -> None:
        """Move what is above body `joint` along the axis until the disc is so thin or thick."""
        upper, lower = self.bodies[joint - 1], self.bodies[joint]
        across = unit(unit(lower[1] - lower[0]) + unit(upper[2] - upper[3]))
        up = np.array([across[1], -across[0]])
        for _ in range(3):
            self.move_above(joint, up * (gap_mm - self.gap_mm(joint)))

    def separate(self, least_mm: float = 0.4) -> None:
        """Push bodies up until none lies within the one below."""
        for joint in range(len(self.bodies) - 1, 0, -1):
            if self.gap_mm(joint) < least_mm:
                self.set_gap(joint, least_mm)

    def leaning_deg(self) -> float:
        """How far the line from S1 to T9, or the highest body, leans backwards."""
        top = self.bodies[max(self.first_lumbar - 4, 0)].mean(0) - self.bodies[-1].mean(0)
        return float(np.degrees(np.arctan2(top[0], -top[1])))

    def balance(self, share: float, upright_deg: float) -> None:
        """Turn everything about S1, pelvis too, by a share of what the spine leans beyond upright_deg."""
        s1 = self.bodies[-1].mean(0)
        angle = share * (upright_deg - self.leaning_deg())
        for corners in (self.bodies, self.look.intact, self.sacral):
            corners[:] = turn(corners, s1, angle)
        self.hip_mm[:] = turn(self.hip_mm, s1, angle)
        self.pelvic_turn_deg -= angle

    def named(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Names of bodies, from head to tail."""
        return tuple(self.names[k] for k in sorted(indices))


def _height(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[float, float]:
    """How far a point lies to the left of a line, and at which share of it."""
    chord = end - start
    length = float(np.linalg.norm(chord))
    offset = point - start
    return float(offset @ np.array([chord[1], -chord[0]])) / length, float(offset @ chord) / length**2
