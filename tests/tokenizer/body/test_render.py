"""The rasteriser against a brute-force ray test, by hand, and in corner cases."""

from __future__ import annotations

import math

import pytest
import torch

from tokenizer.body.render import downsample, interpolate, rasterize, shade, vertex_normals

K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
SIZE = (48, 64)
TRIANGLE = torch.tensor([[0, 1, 2]])


def sphere(rings=10, around=12):
    """A closed unit sphere with outward faces (counter-clockwise seen from outside, y up), degenerate at the poles."""
    polar = [math.pi * i / rings for i in range(rings + 1)]
    turns = [2 * math.pi * j / around for j in range(around)]
    points = [[math.sin(p) * math.cos(t), math.cos(p), math.sin(p) * math.sin(t)] for p in polar for t in turns]
    faces = []
    for i in range(rings):
        for j in range(around):
            a, b = i * around + j, i * around + (j + 1) % around
            faces += [[a, b, a + around], [b, b + around, a + around]]
    return torch.tensor(points), torch.tensor(faces)


def trace_rays(vertices, faces, intrinsics, size):
    """Every ray against every triangle in double precision → nearest face (−1: none) and depth."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height).double() + 0.5, torch.arange(width).double() + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).reshape(-1, 3)
    rays = pixels @ torch.linalg.inv(intrinsics.double()).T
    corners = vertices.double()[faces].transpose(-1, -2)
    whole = torch.linalg.det(corners).abs() > 1e-12
    weights = torch.linalg.inv(corners[whole]) @ rays.T
    total = weights.sum(1)
    depth = torch.where((weights >= 0).all(1) & (total > 0), 1 / total, torch.inf)
    nearest, number = depth.min(0)
    face = torch.where(nearest.isinf(), -1, whole.nonzero()[:, 0][number])
    return face.view(size), nearest.view(size)


@pytest.mark.parametrize("seed", range(8))
def test_every_pixel_agrees_with_brute_force_rays(seed):
    generator = torch.Generator().manual_seed(seed)
    points, faces = sphere()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    both = torch.cat([0.5 * points @ turn, 0.3 * points + torch.tensor([0.3, 0.1, -0.2])])
    both = both + torch.tensor([0, 0, 2.5]) + 0.3 * torch.randn(3, generator=generator)
    faces = torch.cat([faces, faces + len(points)])
    raster = rasterize(both[None], faces, K[None], SIZE)
    face, depth = trace_rays(both, faces, K, SIZE)
    assert (face >= 0).sum() > 100
    assert torch.equal(raster.face[0], face)
    seen = face >= 0
    assert (raster.depth[0][seen] - depth[seen]).abs().max() < 1e-6
    assert raster.depth[0][~seen].isinf().all()


def test_weights_place_the_visible_point_on_its_ray():
    """Perspective-correct: the weighted corners project onto the pixel's centre, at the depth that is told."""
    vertices = torch.tensor([[-0.8, -0.5, 1.0], [0.9, -0.4, 4.0], [0.0, 0.9, 2.0]])
    raster = rasterize(vertices[None], TRIANGLE, K[None], SIZE)
    points = interpolate(raster, vertices, TRIANGLE)[0]
    y, x = (raster.face[0] >= 0).nonzero(as_tuple=True)
    assert len(y) > 200
    pixels = points[y, x] @ K.T
    centres = torch.stack([x, y], -1) + 0.5
    assert (pixels[:, :2] / pixels[:, 2:] - centres).abs().max() < 1e-4
    assert torch.allclose(points[y, x][:, 2], raster.depth[0][y, x], atol=1e-6)
    assert torch.allclose(raster.barycentric[0][y, x].sum(-1), torch.ones(len(y)), atol=1e-6)


def test_golden_square_covers_the_pixels_whose_centres_it_holds():
    """At depth 2 and focal length 2, x and y are pixels: a square from 1.4 to 4.4 holds the centres 1.5, 2.5, 3.5."""
    square = torch.tensor([[1.4, 1.4, 2.0], [4.4, 1.4, 2], [4.4, 4.4, 2], [1.4, 4.4, 2]])
    raster = rasterize(
        square[None], torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.diag(torch.tensor([2.0, 2, 1]))[None], (6, 6)
    )
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[1:4, 1:4] = True
    assert torch.equal(raster.face[0] >= 0, expected)
    assert (raster.depth[0][expected] == 2).all()


def test_edges_through_pixel_centres_leave_no_hole_and_ties_are_settled():
    steps = 4 * torch.arange(9) + 0.5
    x, y = torch.meshgrid(steps, steps, indexing="xy")
    points = 2 * torch.stack([x, y, torch.ones_like(x)], -1).reshape(-1, 3)
    n = torch.arange(81).view(9, 9)
    upper = torch.stack([n[:-1, :-1], n[:-1, 1:], n[1:, :-1]], -1).view(-1, 3)
    lower = torch.stack([n[:-1, 1:], n[1:, 1:], n[1:, :-1]], -1).view(-1, 3)
    faces = torch.cat([upper, lower])
    first = rasterize(points[None], faces, torch.eye(3)[None], (33, 33))
    assert (first.face >= 0).all() and (first.depth == 2).all()
    repeated = rasterize(points[None], torch.cat([faces, faces]), torch.eye(3)[None], (33, 33))
    assert torch.equal(repeated.face, first.face), "of equal triangles the first is seen"


def test_fine_closed_surface_shows_no_crack():
    points, faces = sphere(60, 80)
    focal = torch.tensor([[150.0, 0, 64], [0, 150, 64], [0, 0, 1]])
    raster = rasterize((points + torch.tensor([0.03, -0.02, 3.0]))[None], faces, focal[None], (128, 128))
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    centre = torch.tensor([0.03, -0.02, 3.0])
    rays = torch.nn.functional.normalize(torch.stack([(x - 64) / 150, (y - 64) / 150, torch.ones_like(x)], -1), dim=-1)
    inside = torch.linalg.cross(rays, centre.expand_as(rays)).norm(dim=-1) < 0.98
    assert (raster.face[0][inside] >= 0).all() and (raster.depth[0][inside] < 3).all()


def test_culling_changes_nothing_on_a_closed_surface():
    points, faces = sphere()
    vertices = (points + torch.tensor([0.1, 0.0, 3.0]))[None]
    every, front = (rasterize(vertices, faces, K[None], SIZE, cull=cull) for cull in (False, True))
    assert (every.face >= 0).sum() > 100
    assert torch.equal(every.face, front.face) and torch.equal(every.depth, front.depth)
    inside_out = rasterize(vertices, faces.flip(1), K[None], SIZE, cull=True)
    seen = inside_out.face >= 0
    assert seen.sum() > 100 and (inside_out.depth[seen] >= every.depth[seen]).all(), "what remains is the far side"
    assert float(inside_out.depth[0, 24, 34]) > 3.9


def test_nearer_mesh_hides_the_farther_in_any_order():
    plate = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    small, large = 0.3 * plate + torch.tensor([0, 0, 2.0]), plate + torch.tensor([0, 0, 3.0])
    two = torch.tensor([[0, 1, 2], [0, 2, 3]])
    faces = torch.cat([two, two + 4])
    for order in ((small, large), (large, small)):
        raster = rasterize(torch.cat(order)[None], faces, K[None], SIZE)
        assert abs(float(raster.depth[0, 24, 32]) - 2) < 1e-6 and abs(float(raster.depth[0, 24, 48]) - 3) < 1e-6


def test_triangles_at_behind_or_without_area_are_left_out():
    crossing = torch.tensor([[-1.0, -1, 0.01], [1, -1, 3], [0, 1, 3]])
    behind = torch.tensor([[-1.0, -1, -2], [1, -1, -2], [0, 1, -2]])
    line = torch.tensor([[0.0, 0, 2], [0.5, 0.5, 2], [1, 1, 2]])
    point = torch.tensor([[0.1, 0.1, 2]]).expand(3, 3)
    for corners in (crossing, behind, line, point):
        raster = rasterize(corners[None], TRIANGLE, K[None], SIZE)
        assert (raster.face == -1).all() and raster.depth.isinf().all() and (raster.barycentric == 0).all()
        assert torch.isfinite(interpolate(raster, corners, TRIANGLE)).all()
    assert (rasterize(line[None], torch.zeros(0, 3, dtype=torch.int64), K[None], SIZE).face == -1).all()


def test_a_batch_is_its_members():
    points, faces = sphere()
    vertices = torch.stack([points + torch.tensor([0, 0, 3.0]), 0.5 * points + torch.tensor([0.2, 0.1, 2.0])])
    cameras = torch.stack([K, K * torch.tensor([[1.3], [1.3], [1.0]])])
    together = rasterize(vertices, faces, cameras, SIZE)
    for number in range(2):
        alone = rasterize(vertices[number : number + 1], faces, cameras[number : number + 1], SIZE)
        assert torch.equal(together.face[number], alone.face[0]) and torch.equal(together.depth[number], alone.depth[0])


def test_large_triangles_split_over_chunks_are_drawn_alike(monkeypatch):
    points, faces = sphere()
    vertices = (points + torch.tensor([0, 0, 2.2]))[None]
    whole = rasterize(vertices, faces, K[None], SIZE)
    monkeypatch.setattr("tokenizer.body.render._CHUNK", 200)
    assert torch.equal(rasterize(vertices, faces, K[None], SIZE).face, whole.face)


def test_normals_point_outward_and_light_falls_from_its_side():
    points, faces = sphere(20, 24)
    normals = vertex_normals(points[None], faces)[0]
    away_from_poles = points[:, 1].abs() < 0.9
    assert ((normals * points).sum(-1)[away_from_poles] > 0.99).all()
    facing = torch.tensor([[0.0, 0, -1], [0, 0, 1], [-1, 0, -1]]).view(1, 1, 3, 3)
    lit = shade(facing, torch.tensor([[0.0, 0, -2]]), 0.2)
    assert torch.allclose(lit.flatten(), torch.tensor([1.0, 0.2, 0.2 + 0.8 * math.sqrt(0.5)]), atol=1e-6)


def test_supersampled_edges_are_shares_of_what_they_cover():
    images = torch.tensor([[[[1.0], [0.0]], [[0.0], [0.0]]]])
    assert torch.equal(downsample(images), torch.tensor([[[[0.25]]]]))
    points, faces = sphere(30, 40)
    vertices = (points + torch.tensor([0, 0, 3.0]))[None]
    fine = K.clone()
    fine[:2] *= 2
    cover = downsample((rasterize(vertices, faces, fine[None], (96, 128)).face >= 0)[..., None].float())
    assert {0.0, 0.25, 0.5, 0.75, 1.0} == set(cover.unique().tolist())
    radius = 60 / math.sqrt(8)
    assert abs(float(cover.sum()) / (math.pi * radius**2) - 1) < 0.02, "a unit sphere at 3 m: tan = 1/√8"


@pytest.mark.gpu
def test_gpu_draws_what_the_cpu_draws():
    points, faces = sphere()
    vertices = (points + torch.tensor([0.1, 0.0, 3.0]))[None]
    here = rasterize(vertices, faces, K[None], SIZE)
    there = rasterize(vertices.cuda(), faces.cuda(), K[None].cuda(), SIZE)
    assert (here.face != there.face.cpu()).float().mean() < 1e-3
    same = (here.face == there.face.cpu()) & (here.face >= 0)
    assert (here.depth - there.depth.cpu())[same].abs().max() < 1e-5
