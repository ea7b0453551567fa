"""Surface meshes of real bones to path lengths along the beam: the atlas that `bones` paints from.

Each bone is a closed mesh, made solid in a voxel grid, split by depth below its surface into cortex and spongy bone,
turned a little in space, and summed along the beam.

Meshes: vertebrae L1-L5, sacrum and hip bones of the Visible Human, Remus et al. 2021, PLoS ONE 16(4):e0250456
(BSD-3-Clause). They are read from a folder and are no part of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import ndimage

from spineseg.film import BadInput

Vertices = Float[np.ndarray, "vertex xyz=3"]
Faces = Int[np.ndarray, "face corner=3"]
Volume = Float32[np.ndarray, "x y z"]

SACRUM_S1_MM = np.array([(10.4, -10.6), (-12.8, 7.7), (-35.7, -7.7), (-16.0, -24.5)])
"""(x forward, z up) of S1's corners in the middle of the sacrum's mesh, placed by eye: the lower two where the
posterior wall steps at the remnant of the disc. Order: cranial-anterior, cranial-posterior, caudal-posterior,
caudal-anterior."""
HIP_CENTRE_MM = np.array([10.0, -94.0])
"""(x forward, z up) of the centre of the acetabulum, by eye."""
VERTEBRAL_MESHES = ("L1", "L2", "L3", "L4", "L5")


class UnreadableMesh(BadInput):
    """A mesh file that is missing, or not the binary PLY of triangles that is read here."""


@dataclass(frozen=True)
class AtlasConfig:
    """How the meshes are turned into path lengths."""

    turns: int = 16
    """Projections of each bone, each turned differently."""
    axial_deg: float = 7.0
    """Deviation of the turn about the long axis of the body."""
    tilt_deg: float = 6.0
    """Deviation of the turn about the antero-posterior axis."""
    voxel_mm: float = 0.8
    hip_voxel_mm: float = 1.3
    shell_mm: float = 0.9
    """Thickness of each of the two outer layers."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Projections:
    """Path lengths (mm) through a bone's outer shell, the shell below it, and the rest, for several turns.

    origin_mm: (x to posterior, y to caudal) of the first pixel's corner. marks_mm: points of the bone in each turn.
    """

    layers: Float32[np.ndarray, "turn layer=3 rows columns"]
    origin_mm: Float[np.ndarray, "xy=2"]
    pixel_mm: float
    marks_mm: Float[np.ndarray, "turn mark xy=2"]


Atlas = Mapping[str, Projections]
"""Projections of L1-L5, "sacrum", "left hip" and "right hip"."""


def read_ply(path: Path) -> tuple[Vertices, Faces]:
    """Vertices (mm) and triangles of a little-endian binary PLY. Raises UnreadableMesh."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableMesh(
            f"expected the mesh {path.name}, got {error.strerror}; name the folder that holds it"
        ) from None
    head, mark, body = data.partition(b"end_header\n")
    words = head.split()
    triangle = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
    try:
        vertices, faces = (int(words[words.index(kind) + 1]) for kind in (b"vertex", b"face"))
        points = np.frombuffer(body, "<f4", vertices * 3).reshape(-1, 3).astype(np.float64)
        triangles = np.frombuffer(body, triangle, faces, offset=vertices * 12)
    except ValueError:
        raise UnreadableMesh(f"expected {path.name} as binary PLY of triangles, got another file; convert it") from None
    if not mark or b"binary_little_endian" not in words or (triangles["count"] != 3).any():
        raise UnreadableMesh(f"expected {path.name} as binary PLY of triangles, got another file; convert it")
    return points, triangles["corners"].astype(np.int64)


def _pixels_under(corners: Float[np.ndarray, "face corner=3 xz=2"]) -> tuple[np.ndarray, np.ndarray]:
    """Every (face, pixel) pair whose pixel centre lies in the face's bounding box."""
    first, last = np.ceil(corners.min(1)).astype(int), np.floor(corners.max(1)).astype(int)
    size = np.maximum(last - first + 1, 0)
    count = size.prod(1)
    face = np.repeat(np.arange(len(corners)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    depth = size[face, 1]
    return face, first[face] + np.stack([within // np.maximum(depth, 1), within % np.maximum(depth, 1)], 1)


def voxelise(
    vertices: Vertices, faces: Faces, voxel_mm: float, margin: int = 3
) -> tuple[Bool[np.ndarray, "x y z"], Float[np.ndarray, "xyz=3"]]:
    """Which voxels have their centre inside a closed mesh, and the first voxel's corner (mm).

    Along each line in y every face that is crossed counts +1 or -1 by its side; inside, the sum is one.
    """
    shifted = np.array([0.137, 0.171, 0.119])  # so that no line meets a vertex or an edge
    origin = vertices.min(0) - (margin + shifted) * voxel_mm
    shape = np.ceil((vertices.max(0) - origin) / voxel_mm).astype(int) + margin
    corners = ((vertices - origin) / voxel_mm - 0.5)[faces]
    face, pixel = _pixels_under(corners[:, :, [0, 2]])
    a, b, c = (corners[face, k][:, [0, 2]] - pixel for k in range(3))
    parts = np.stack([b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0], c[:, 0] * a[:, 1] - c[:, 1] * a[:, 0]], 1)
    whole = parts.sum(1) + a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    solid = np.abs(whole) > 1e-12
    face, pixel, whole = face[solid], pixel[solid], whole[solid]
    share = np.concatenate([parts[solid] / whole[:, None], np.zeros((len(whole), 1))], 1)
    share[:, 2] = 1 - share[:, 0] - share[:, 1]
    inside = (share >= 0).all(1)
    crossing = np.ceil((share * corners[face][:, :, 1]).sum(1)[inside]).astype(int)
    counts = np.zeros(shape, np.float32)
    np.add.at(counts, (pixel[inside, 0], crossing, pixel[inside, 1]), np.sign(whole[inside]))
    return np.abs(np.cumsum(counts, 1)) > 0.5, origin


def layers_of(solid: Bool[np.ndarray, "x y z"], voxel_mm: float, shell_mm: float) -> tuple[Volume, Volume, Volume]:
    """Shares 0..1 of each voxel in the outer shell, in the shell below it, and in the rest."""
    within, outside = (np.asarray(ndimage.distance_transform_edt(side)) for side in (solid, ~solid))
    depth = within - outside
    depth_mm = (depth - 0.5 * np.sign(depth)) * voxel_mm
    beyond = [
        np.clip(0.5 + (depth_mm - start) / voxel_mm, 0, 1).astype(np.float32) for start in (0, shell_mm, 2 * shell_mm)
    ]
    return beyond[0] - beyond[1], beyond[1] - beyond[2], beyond[2]


def _rotation(axial_deg: float, tilt_deg: float) -> Float[np.ndarray, "3 3"]:
    """Turn about z (the body's axis), then about x (antero-posterior)."""
    a, t = np.deg2rad([axial_deg, tilt_deg])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    return about_x @ about_z


@dataclass(frozen=True, eq=False)
class _Solid:
    """Voxels inside a bone; the first voxel's corner and the voxel's side, in mm."""

    inside: Bool[np.ndarray, "x y z"]
    origin_mm: Float[np.ndarray, "xyz=3"]
    voxel_mm: float

    @property
    def centre_mm(self) -> Float[np.ndarray, "xyz=3"]:
        return self.origin_mm + np.array(self.inside.shape) * self.voxel_mm / 2


def project(
    solid: _Solid, marks: Float[np.ndarray, "*turn mark xyz=3"], turns: list[np.ndarray], shell_mm: float
) -> Projections:
    """Sum a bone's layers along y for each turn about its own centre.

    marks: points (mm) of the bone as it lies, that are carried along; those of each turn, or one set for all.
    """
    middle = np.array(solid.inside.shape) / 2 - 0.5
    layers = layers_of(solid.inside, solid.voxel_mm, shell_mm)
    paths, carried = [], []
    for turn, points in zip(turns, np.broadcast_to(marks, (len(turns), *marks.shape[-2:])), strict=True):
        shift = middle - turn.T @ middle
        turned = [
            ndimage.affine_transform(layer, turn.T, shift.tolist(), order=1).sum(1) * solid.voxel_mm for layer in layers
        ]
        paths.append([layer.T[::-1, ::-1] for layer in turned])
        moved = (points - solid.centre_mm) @ turn.T + solid.centre_mm
        carried.append(np.stack([-moved[:, 0], -moved[:, 2]], 1))
    upper = solid.origin_mm + np.array(solid.inside.shape) * solid.voxel_mm
    return Projections(
        np.ascontiguousarray(paths, dtype=np.float32),
        np.array([-upper[0], -upper[2]]),
        solid.voxel_mm,
        np.array(carried),
    )


def body_corners(body: Vertices, turn: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "corner=4 xyz=3"]:
    """Corners of a vertebral body as seen in a turn, from the points of the body alone; order as `shape.SpineShape`.

    They are the points (mm, as it lies) that the turn brings farthest along the diagonals of the body's own axes: where
    the two rims of an endplate part, the outer one's, as readers place them. Upwards counts for more than backwards,
    for the upper corner behind is rounded off towards the pedicles.
    """
    plane = ((body - body.mean(0)) @ turn.T)[:, [0, 2]]
    diagonals = np.array([(1, 1.4), (-1, 1.4), (-1, -1.4), (1, -1.4)])
    found, axes = np.zeros(4, int), np.eye(2)
    for _ in range(4):
        own = plane @ axes.T
        found = (own / np.ptp(own, 0) @ diagonals.T).argmax(0)
        forward = _forward(plane[found])
        axes = np.array([forward, [-forward[1], forward[0]]])
    return body[found]


def _forward(corners: Float[np.ndarray, "corner=4 xz=2"]) -> Float[np.ndarray, "xz=2"]:
    """Unit vector from the back of a body to its front."""
    along = corners[[0, 3]] - corners[[1, 2]]
    mean = (along / np.linalg.norm(along, axis=1, keepdims=True)).sum(0)
    return mean / np.linalg.norm(mean)


def body_points(
    body: Float[np.ndarray, "body xyz=3"],
    bone: Float[np.ndarray, "bone xyz=3"],
    behind_mm: float = 3.0,
    half_width_mm: float = 8.0,
) -> Vertices:
    """A body's mesh and, since some are cut off short, the bone's own points in the middle up to just behind it."""
    corners = body_corners(body, np.eye(3))[:, [0, 2]]
    ahead = (bone[:, [0, 2]] - corners[1:3].mean(0)) @ _forward(corners)
    return np.concatenate([body, bone[(ahead > -behind_mm) & (np.abs(bone[:, 1]) < half_width_mm)]])


def _in_middle(points: Float[np.ndarray, "mark xz=2"]) -> Vertices:
    return np.stack([points[:, 0], np.zeros(len(points)), points[:, 1]], 1)


def build_atlas(folder: Path, config: AtlasConfig = AtlasConfig()) -> dict[str, Projections]:
    """Path lengths of every bone in `folder` (L1.ply ... L5.ply with L1_body.ply ..., S1.ply, Pelvis.ply).

    About ten seconds a bone. Raises UnreadableMesh.
    """
    rng = np.random.default_rng(config.seed)
    turns = [_rotation(rng.normal(0, config.axial_deg), rng.normal(0, config.tilt_deg)) for _ in range(config.turns)]
    atlas = {}
    for name in VERTEBRAL_MESHES:
        bone = read_ply(folder / f"{name}.ply")
        body = body_points(read_ply(folder / f"{name}_body.ply")[0], bone[0])
        marks = np.array([body_corners(body, turn) for turn in turns])
        atlas[name] = project(_solid(*bone, config.voxel_mm), marks, turns, config.shell_mm)
    s1, hip = _in_middle(SACRUM_S1_MM), _in_middle(HIP_CENTRE_MM[None])
    atlas["sacrum"] = project(_solid(*read_ply(folder / "S1.ply"), config.voxel_mm), s1, turns, config.shell_mm)
    both = _solid(*read_ply(folder / "Pelvis.ply"), config.hip_voxel_mm)
    middle = round(-both.origin_mm[1] / both.voxel_mm)
    for side, there in (("left", np.s_[:, :middle]), ("right", np.s_[:, middle:])):
        inside = both.inside.copy()
        inside[there] = False
        one = _Solid(inside, both.origin_mm, both.voxel_mm)
        atlas[f"{side} hip"] = project(one, np.concatenate([s1, hip]), turns, config.shell_mm)
    return atlas


def _solid(vertices: Vertices, faces: Faces, voxel_mm: float) -> _Solid:
    return _Solid(*voxelise(vertices, faces, voxel_mm), voxel_mm)


def save_atlas(path: Path, atlas: Atlas) -> None:
    """Keep an atlas as one compressed file of half-precision arrays."""
    arrays = {}
    for name, bone in atlas.items():
        arrays[f"{name}/layers"] = bone.layers.astype(np.float16)
        arrays[f"{name}/place"] = np.array([*bone.origin_mm, bone.pixel_mm])
        arrays[f"{name}/marks"] = bone.marks_mm
    np.savez_compressed(path, **arrays)


def load_atlas(path: Path) -> dict[str, Projections]:
    """What `save_atlas` kept."""
    with np.load(path) as stored:
        names = sorted({key.partition("/")[0] for key in stored.files})
        return {
            name: Projections(
                stored[f"{name}/layers"].astype(np.float32),
                stored[f"{name}/place"][:2],
                float(stored[f"{name}/place"][2]),
                stored[f"{name}/marks"],
            )
            for name in names
        }
