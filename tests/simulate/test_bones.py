"""simulate.bones: solids, path lengths and films from meshes made here, whose truth is plain."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from spineseg.simulate import SimulateConfig, build_atlas, load_atlas, save_atlas, simulate_case
from spineseg.simulate.atlas import (
    Atlas,
    AtlasConfig,
    UnreadableMesh,
    body_corners,
    body_points,
    layers_of,
    project,
    read_ply,
    voxelise,
)
from spineseg.simulate.atlas import _rotation as rotation
from spineseg.simulate.atlas import _Solid as Solid
from spineseg.simulate.bones import paint_bones
from spineseg.simulate.canvas import Canvas
from spineseg.simulate.shape import ShapeConfig, sample_spine

BOX_FACES = np.array(
    [(0, 2, 1), (0, 3, 2), (4, 5, 6), (4, 6, 7), (0, 1, 5), (0, 5, 4)]
    + [(1, 2, 6), (1, 6, 5), (2, 3, 7), (2, 7, 6), (3, 0, 4), (3, 4, 7)]
)
SMALL = AtlasConfig(turns=2, voxel_mm=1.5, hip_voxel_mm=4.0)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A closed box of twelve triangles."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    base = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return np.concatenate([np.c_[base, np.full(4, z0)], np.c_[base, np.full(4, z1)]]).astype(float), BOX_FACES


def ply(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    head = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    triangles = np.zeros(len(faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    triangles["count"], triangles["corners"] = 3, faces
    return head.encode() + vertices.astype("<f4").tobytes() + triangles.tobytes()


def write_ply(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    path.write_bytes(ply(vertices, faces))


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person of boxes: five vertebrae 40 mm high, a sacrum and two hip bones joined in front."""
    folder = tmp_path_factory.mktemp("meshes")
    for index in range(5):
        z = 20.0 + 40 * (4 - index)
        write_ply(folder / f"L{index + 1}.ply", *box((-50, -20, z), (20, 20, z + 30)))
        write_ply(folder / f"L{index + 1}_body.ply", *box((-14, -6, z), (20, 6, z + 30)))
    write_ply(folder / "S1.ply", *box((-60, -30, -80), (12, 30, 12)))
    write_ply(folder / "Pelvis.ply", *box((-60, -120, -150), (60, 120, 40)))
    return folder


def test_a_mesh_is_read_as_it_was_written(tmp_path: Path) -> None:
    vertices, faces = box((-1, -2, -3), (4, 5, 6))
    write_ply(tmp_path / "box.ply", vertices, faces)
    read, triangles = read_ply(tmp_path / "box.ply")
    np.testing.assert_array_equal(read, vertices)
    np.testing.assert_array_equal(triangles, faces)


WHOLE = ply(*box((0, 0, 0), (1, 1, 1)))


@pytest.mark.parametrize(
    "content", [b"", b"ply\nformat ascii 1.0\nend_header\n", b"\x89PNG" + bytes(90), WHOLE[:-20], None]
)
def test_what_is_no_such_mesh_is_refused_in_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bone.ply"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableMesh, match=r"expected .*bone\.ply.*; "):
        read_ply(path)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_box_fills_its_own_volume_whichever_way_its_faces_look(flipped: bool) -> None:
    vertices, faces = box((-10, -20, -5), (10, 20, 5))
    solid, origin = voxelise(vertices, faces[:, ::-1] if flipped else faces, 0.5)
    assert solid.sum() * 0.125 == pytest.approx(20 * 40 * 10, rel=0.06)
    inside = np.argwhere(solid) * 0.5 + 0.25 + origin
    np.testing.assert_allclose(inside.mean(0), 0, atol=0.3)


def test_layers_share_out_every_voxel_of_the_bone() -> None:
    solid = np.pad(np.ones((12, 14, 16), bool), 4)
    outer, under, inner = layers_of(solid, 1.0, 2.0)
    total = outer + under + inner
    np.testing.assert_allclose(total[5:-5, 5:-5, 5:-5], 1, atol=1e-6)
    assert (outer >= 0).all() and (under >= -1e-6).all() and (inner >= 0).all()
    assert inner[10, 11, 12] == 1 and outer[4, 11, 12] == 1 and under[6, 11, 12] > 0.4


def test_path_lengths_through_a_box_are_its_width_and_longer_when_it_is_turned() -> None:
    vertices, faces = box((-20, -15, -10), (20, 15, 10))
    solid = Solid(*voxelise(vertices, faces, 1.0), 1.0)
    marks = np.array([(20.0, 0.0, 10.0)])
    found = project(solid, marks, [rotation(0.0, 0.0), rotation(20.0, 0.0)], 1.0)
    straight, turned = found.layers.sum(1)
    middle = tuple(n // 2 for n in straight.shape)
    assert straight[middle] == pytest.approx(30, abs=1.1)
    assert turned[middle] == pytest.approx(30 / np.cos(np.deg2rad(20)), abs=1.5)
    np.testing.assert_allclose(found.marks_mm[0], [(-20, -10)], atol=1.1)  # to posterior and to caudal
    column, row = ((found.marks_mm[0, 0] - found.origin_mm) / found.pixel_mm).astype(int)
    assert straight[row + 2, column + 2] > 25 and straight[row - 3, column - 3] == 0


def test_body_corners_are_a_boxs_corners_in_their_order() -> None:
    vertices, faces = box((-14, -5, 100), (20, 5, 130))
    assert len(faces)
    expected = [(20, 130), (-14, 130), (-14, 100), (20, 100)]  # x forward, z up: cranial-anterior first
    for forward in (0.0, 0.3, -0.3):  # also where the body lies aslant
        aslant = np.array([[np.cos(forward), 0, np.sin(forward)], [0, 1, 0], [-np.sin(forward), 0, np.cos(forward)]])
        found = body_corners(vertices @ aslant.T, np.eye(3)) @ aslant
        np.testing.assert_allclose(found[:, [0, 2]], expected)


@pytest.mark.parametrize("tilt_deg", [8.0, -8.0])
def test_body_corners_lie_on_the_outer_of_two_rims(tilt_deg: float) -> None:
    turn = rotation(0.0, tilt_deg)
    vertices, _ = box((-14, -15, 100), (20, 15, 130))
    seen = (vertices @ turn.T)[:, 2]
    corners = (body_corners(vertices, turn) @ turn.T)[:, 2]
    np.testing.assert_allclose(corners, [seen.max(), seen.max(), seen.min(), seen.min()])
    assert np.ptp(seen) > 30 * np.cos(np.deg2rad(8)) + 4


def test_a_body_mesh_that_is_cut_short_is_completed_from_the_bone() -> None:
    short, _ = box((-12, -20, 0), (20, 20, 27))
    short[[4, 7], 0] = -8.0  # nothing of the upper corner behind
    (middle, _), (arch, _) = box((-12.5, -5, 0), (20, 5, 27)), box((-50, -20, -5), (-30, 20, 20))
    corners = body_corners(body_points(short, np.concatenate([middle, arch])), np.eye(3))[:, [0, 2]]
    np.testing.assert_allclose(corners, [(20, 27), (-12.5, 27), (-12.5, 0), (20, 0)])


@pytest.fixture(scope="module")
def atlas(meshes: Path) -> Atlas:
    return build_atlas(meshes, SMALL)


def test_an_atlas_survives_being_kept(atlas: Atlas, tmp_path: Path) -> None:
    save_atlas(tmp_path / "atlas.npz", atlas)
    kept = load_atlas(tmp_path / "atlas.npz")
    assert set(kept) == set(atlas) == {"L1", "L2", "L3", "L4", "L5", "sacrum", "left hip", "right hip"}
    for name, bone in atlas.items():
        np.testing.assert_allclose(kept[name].layers, bone.layers, rtol=2e-3, atol=1e-2)
        np.testing.assert_array_equal(kept[name].marks_mm, bone.marks_mm)


def test_projected_bodies_lie_where_the_spines_corners_say(atlas: Atlas) -> None:
    shape = ShapeConfig(slip_probability=0.0, narrow_disc_probability=0.0, fracture_probability=0.0)
    for index in range(12):
        rng = np.random.default_rng([5, index])
        spine = sample_spine(rng, shape)
        low = spine.lumbar.min((0, 1)) - 15
        canvas = Canvas(np.zeros((300, 200), np.float32), 1.0, (float(low[0]), float(low[1])))
        paint_bones(canvas, spine, atlas, rng)
        for upper, lower in pairwise(spine.lumbar[:4]):
            place = np.round(
                canvas.to_pixels(np.stack([upper.mean(0), (upper[2:].mean(0) + lower[:2].mean(0)) / 2]))
            ).astype(int)
            body, disc = canvas.attenuation[place[:, 1], place[:, 0]]
            assert body > 2 * disc


def test_both_sources_draw_the_same_spine_for_the_same_seed(atlas: Atlas) -> None:
    config = SimulateConfig(rows=128, face_right_probability=0.0)
    painted, projected = simulate_case(5, 1, config), simulate_case(5, 1, config, atlas)
    np.testing.assert_array_equal(painted.masks, projected.masks)
    assert not np.array_equal(painted.film.image, projected.film.image)
    np.testing.assert_array_equal(projected.film.image, simulate_case(5, 1, config, atlas).film.image)
