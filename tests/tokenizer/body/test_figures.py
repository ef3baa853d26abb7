"""Bodies as pictures: colours of vertices, a view that stays."""

from __future__ import annotations

import re
from importlib.resources import files

import torch

from tokenizer.body.figures import BODY_COLOUR, TRUE_COLOUR, figures, heat_colours, lay_over, suit_colours
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import body_index, index
from tokenizer.body.vertex_sets import REGION_NAMES

SIZE = (60, 50)


def test_heat_runs_from_grey_over_orange_to_dark_red():
    colours = heat_colours(torch.tensor([0.0, 25.0, 50.0, 100.0, 1e6]), 100.0)
    assert torch.allclose(colours[0], torch.tensor([0.82, 0.82, 0.80]))
    assert torch.allclose(colours[1], (colours[0] + colours[2]) / 2, atol=1e-6)
    assert torch.allclose(colours[2], torch.tensor([0.91, 0.50, 0.20]))
    assert torch.allclose(colours[3], torch.tensor([0.56, 0.05, 0.12])) and torch.equal(colours[3], colours[4])
    assert heat_colours(torch.zeros(2, 3), 1.0).shape == (2, 3, 3)


def test_vertices_of_one_colour_look_like_that_colour(open_body):
    rest = torch.eye(3).expand(1, 21, 3, 3)
    plain = figures(open_body, rest, SIZE, BODY_COLOUR)
    each = figures(open_body, rest, SIZE, torch.tensor(BODY_COLOUR).expand(1, len(open_body.v_template), 3))
    assert plain.shape == (1, *SIZE, 4) and abs(plain.astype(int) - each).max() <= 1
    assert 200 < (plain[0, ..., 3] == 255).sum() < 1500


def test_a_coloured_limb_shows_where_it_is(open_body):
    rest = torch.eye(3).expand(1, 21, 3, 3)
    part = open_body.vertex_part
    left_arm = sum(part == index(name) for name in ("left_shoulder", "left_elbow", "left_wrist")).bool()
    picture = figures(open_body, rest, SIZE, heat_colours(left_arm.float()[None], 1.0))[0].astype(int)
    red = (picture[..., 0] > 2 * picture[..., 1] + 30) & (picture[..., 3] == 255)
    assert red[:, 30:].sum() > 15 and red[:, :25].sum() == 0, "the left arm is on the right of a body seen from front"


def test_a_suit_leaves_hands_feet_and_face_bare_and_nothing_else(open_body):
    colours, parts = suit_colours(open_body, (0.1, 0.2, 0.9)), open_body.vertex_part
    cloth = (colours == torch.tensor([0.1, 0.2, 0.9])).all(-1)
    ends = ("wrist", "hand", "ankle", "foot")
    bare = [index(f"{side}_{name}") for side in ("left", "right") for name in ends]
    skin = torch.isin(parts, torch.tensor(bare))
    assert torch.equal(cloth, ~skin & (parts != index("head")))
    assert len(colours[skin].unique(dim=0)) == 1 and colours[skin][0, 0] > 0.5
    face = open_body.vertex_region == REGION_NAMES.index("face")
    assert (colours[face] == colours[skin][0]).all() and face.sum() > 100
    hair = open_body.vertex_region == index("head")
    assert colours[hair].max() < 0.5, "darker than skin"


def test_one_view_for_all_poses(open_body):
    bent = torch.zeros(2, 21, 3)
    bent[1, body_index("left_elbow"), 1] = -1.5
    picture = figures(open_body, axis_angle_to_matrix(bent), SIZE, BODY_COLOUR)
    same = (picture[0] == picture[1]).all(-1)
    assert same[:, :25].all() and not same[:, 30:].all(), "only the arm has moved"


def test_laying_over_mixes_by_opacity():
    image = torch.full((1, 1, 3), 100, dtype=torch.uint8).numpy()
    painted = torch.tensor([[[200, 0, 0, 255]]], dtype=torch.uint8).numpy()
    assert lay_over(image, painted, 0.5).tolist() == [[[150, 50, 50]]]


def test_keys_of_pages_have_the_colours_of_the_bodies():
    style = (files("tokenizer.engine.pages") / "templates" / "style.css").read_text(encoding="utf-8")
    for key, colour in (("truth", TRUE_COLOUR), ("predicted", BODY_COLOUR)):
        (shown,) = re.findall(rf"\.key\.{key} {{ background: rgb\((\d+) (\d+) (\d+)\)", style)
        assert [int(value) for value in shown] == [round(255 * value) for value in colour]
