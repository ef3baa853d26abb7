"""Quick pictures are those of the exact renderer, but for a shade and a fraction of a pixel."""

from __future__ import annotations

import numpy as np
import torch

from regressor.export.overlay import overlay_picture, paint_faces
from tokenizer.body.camera import intrinsics
from tokenizer.body.figures import paint, suit_colours


def standing(body, depth, x=0.0):
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    vertices = body.vertices(torch.eye(3).expand(23, 3, 3), root=upright)
    return vertices - (vertices.amin(0) + vertices.amax(0)) / 2 + torch.tensor([x, 0.0, depth])


def test_the_exact_renderer_is_followed(open_body):
    vertices, K = standing(open_body, 2.6)[None], intrinsics(torch.tensor(300.0), 180, 240)
    exact = paint(vertices, open_body.faces, K[None], (240, 180))[0].astype(int)
    quick = paint_faces(vertices, open_body.faces, K, (240, 180)).astype(int)
    assert np.abs(exact[..., 3] - quick[..., 3]).mean() < 3, "a tenth of a pixel along the outline"
    both = (exact[..., 3] == 255) & (quick[..., 3] == 255)
    assert both.sum() > 3000 and np.abs(exact - quick)[both][:, :3].mean() < 4


def test_a_triangle_golden():
    """Facing the camera: 2 × 2 m at 2 m with a focal length of 10 px cover 10 × 10 px, half of them."""
    corners = torch.tensor([[[-1.0, -1, 2], [-1, 1, 2], [1, 1, 2]]])
    K = torch.tensor([[10.0, 0, 8], [0, 10, 8], [0, 0, 1]])
    seen = paint_faces(corners, torch.tensor([[0, 1, 2]]), K, (16, 16))
    assert (seen[11, 3:9, 3] == 255).all() and not seen[4, 8:, 3].any() and not seen[:, 14:, 3].any()
    assert 45 < (seen[..., 3] / 255).sum() < 60
    for other in ([[0, 2, 1]], [[0, 1, 1]]):
        assert not paint_faces(corners, torch.tensor(other), K, (16, 16)).any(), "turned away, or no area"


def test_the_nearer_hides_the_farther(open_body):
    K = intrinsics(torch.tensor(60.0), 64, 64)
    near, far = standing(open_body, 2.0), standing(open_body, 4.0, 0.1)
    colour = paint_faces(near[None], open_body.faces, K, (64, 64))
    both = paint_faces(torch.stack([near, far]), open_body.faces, K, (64, 64))
    covered = colour[..., 3] == 255
    assert (both[covered] == colour[covered]).all()
    assert (both[..., 3] > 0).sum() > (colour[..., 3] > 0).sum()


def test_what_cannot_be_seen_is_left_out(open_body):
    K = intrinsics(torch.tensor(60.0), 64, 64)
    for z in (0.01, -3.0):
        flat = standing(open_body, z)[None] * torch.tensor([1, 1, 0.01])
        assert not paint_faces(flat, open_body.faces, K, (64, 64)).any()
    huge = torch.tensor([[[-1e9, -1e9, 1], [-1e9, 1e9, 1], [1e9, 1e9, 1]]])
    assert not paint_faces(huge, torch.tensor([[0, 1, 2]]), K, (64, 64)).any()


def test_colours_of_vertices_are_those_of_the_exact_renderer(open_body):
    vertices, K = standing(open_body, 2.6)[None], intrinsics(torch.tensor(300.0), 180, 240)
    suit = suit_colours(open_body)
    exact = paint(vertices, open_body.faces, K[None], (240, 180), suit)[0].astype(int)
    quick = paint_faces(vertices, open_body.faces, K, (240, 180), suit).astype(int)
    both = (exact[..., 3] == 255) & (quick[..., 3] == 255)
    assert np.abs(exact - quick)[both][:, :3].mean() < 4
    assert (np.abs(exact - quick)[both][:, :3].max(1) < 40).mean() > 0.97


def test_light_is_linear_over_a_large_face():
    """A ridge towards the camera: its two sides differ, and the light runs smoothly from one to the other."""
    corners = torch.tensor([[[-1.0, -1, 2], [-1, 1, 2], [0, -1, 1.2], [0, 1, 1.2], [1, -1, 2], [1, 1, 2]]])
    faces = torch.tensor([[0, 1, 3], [0, 3, 2], [2, 3, 5], [2, 5, 4]])
    picture = paint_faces(corners, faces, torch.tensor([[40.0, 0, 32], [0, 40, 32], [0, 0, 1]]), (64, 64), (1.0, 1, 1))
    row = picture[32, picture[32, :, 3] == 255, 0].astype(int)
    assert row[2] - row[-3] > 20 and np.abs(np.diff(row[2:-2])).max() <= 4


def test_a_picture_of_bodies_over_an_image_and_from_their_sides(open_body):
    image, K = np.full((90, 120, 3), 128, np.uint8), intrinsics(torch.tensor(100.0), 120, 90)
    people = torch.stack([standing(open_body, 2.6), standing(open_body, 3.0, 0.5)])
    picture = overlay_picture(image, people, open_body, K)
    assert picture.shape == (90, 120 + 45, 3) and (image == 128).all()
    assert (picture[:, :120] != 128).any(-1).sum() > 800 and (picture[:5, :10] == 128).all()
    assert all((picture[part, 120:] != 255).any() for part in (slice(45), slice(45, 90)))
    for size in ((1, 1), (1, 200), (200, 1)):
        tiny = overlay_picture(np.zeros((*size, 3), np.uint8), people, open_body, K)
        assert tiny.shape[0] == size[0] and tiny.shape[1] > size[1]
