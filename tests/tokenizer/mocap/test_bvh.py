"""BVH: rotations worked out by hand, any hierarchy through a map, and a line number for everything broken."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import BODY_JOINT_NAMES, body_index
from tokenizer.engine.errors import UserError
from tokenizer.mocap.bvh import read_bvh
from tokenizer.mocap.joint_maps import read_joint_map

SMALL = """HIERARCHY
ROOT Hips
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition {order}
  JOINT Thigh
  {{
    OFFSET 0 -1 0
    CHANNELS 3 {order}
    JOINT Twist
    {{
      OFFSET 0 -1 0
      CHANNELS 3 {order}
      End Site
      {{
        OFFSET 0 -1 0
      }}
    }}
  }}
}}
MOTION
Frames: {frames}
Frame Time: 0.05
{rows}
"""
MAP = {"pelvis": ("Hips",), "left_hip": ("Thigh", "Twist"), "left_knee": ("Twist",)}
ORDER = "Zrotation Xrotation Yrotation"


@pytest.fixture
def write(tmp_path):
    def make(rows: list[str], *, order: str = ORDER, frames: object = None, text: str | None = None):
        path = tmp_path / "clip.bvh"
        frames = len(rows) if frames is None else frames
        path.write_text(text if text is not None else SMALL.format(order=order, frames=frames, rows="\n".join(rows)))
        return path

    return make


def matrices(axis_angle: np.ndarray) -> np.ndarray:
    return axis_angle_to_matrix(torch.from_numpy(axis_angle.astype(np.float64))).numpy()


# 90° about z takes x to y; 90° about x takes y to z. "Z X" means Rz·Rx: z is the outer turn.
RZ = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
RX = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])


@pytest.mark.parametrize(
    ("order", "angles", "expected"),
    [
        ("Zrotation Xrotation Yrotation", "90 90 0", RZ @ RX),
        ("Xrotation Zrotation Yrotation", "90 90 0", RX @ RZ),
        ("Yrotation Xrotation Zrotation", "0 90 90", RX @ RZ),
        ("zrotation XROTATION Yrotation", "90 90 0", RZ @ RX),
    ],
)
def test_channel_order_is_the_files(write, order, angles, expected):
    clip = read_bvh(write([f"1 2 3 {angles} 0 0 0 0 0 0"], order=order), MAP, metres_per_unit=0.01)
    np.testing.assert_allclose(matrices(clip.root)[0], expected, atol=1e-6)
    np.testing.assert_allclose(clip.translation, [[0.01, 0.02, 0.03]], rtol=1e-6)
    assert (clip.fps, clip.up) == (pytest.approx(20), "y")


def test_joints_of_one_smpl_joint_are_multiplied_in_order(write):
    clip = read_bvh(write(["0 0 0 0 0 0 90 0 0 0 90 0"]), MAP)
    np.testing.assert_allclose(matrices(clip.pose_body)[0, body_index("left_hip")], RZ @ RX, atol=1e-6)
    np.testing.assert_allclose(matrices(clip.pose_body)[0, body_index("left_knee")], RX, atol=1e-6)
    rest = [i for i, name in enumerate(BODY_JOINT_NAMES) if name not in MAP]
    assert not clip.pose_body[0, rest].any()


def test_a_leading_t_pose_is_left_out_and_a_calm_start_is_not(write):
    still, moved, more = ("0 0 0 0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 40 0 0 0 0 0", "0 0 0 0 0 0 41 0 0 0 0 0")
    assert len(read_bvh(write([still, moved, more]), MAP).pose_body) == 2
    assert len(read_bvh(write([still, still, moved]), MAP).pose_body) == 3
    assert len(read_bvh(write([moved, more]), MAP).pose_body) == 2
    assert len(read_bvh(write([still]), MAP).pose_body) == 1


GOOD = "0 0 0 0 0 0 0 0 0 0 0 0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": [GOOD, GOOD], "frames": 3}, "what line 22 says; got 2 frame lines; expected 3"),
        ({"rows": [GOOD, GOOD], "frames": 1}, "got 2 frame lines; expected 1"),
        ({"rows": [GOOD, GOOD + " 0"]}, "line 25 does not match its header; got 13 numbers; expected 12"),
        ({"rows": [GOOD[2:]]}, "line 24 .*got 11 numbers"),
        ({"rows": [GOOD.replace("0", "x", 1)]}, "not a number"),
        ({"rows": [GOOD.replace("0", "nan", 1)]}, "not finite"),
        ({"rows": []}, "no frames"),
        ({"rows": [GOOD], "frames": "many"}, "line 22 is broken; expected Frames"),
        ({"rows": [GOOD], "order": "Zrotation Xrotation Zrotation"}, "line 5 is broken"),
        ({"rows": [GOOD], "order": "Zrotation Xrotation Wrotation"}, "line 5 is broken"),
        ({"rows": [GOOD], "order": "Zrotation Xrotation"}, "line 5 is broken; got CHANNELS 6"),
        ({"rows": [], "text": ""}, "no BVH file; got an empty file"),
        ({"rows": [], "text": "PK\x03\x04"}, "no BVH file"),
        ({"rows": [], "text": "HIERARCHY\nROOT Hips\n"}, "no motion"),
        ({"rows": [], "text": "HIERARCHY\nCHANNELS 1 Xrotation\nMOTION\n"}, "line 2 is broken"),
        (
            {"rows": [GOOD], "text": SMALL.format(order=ORDER, frames=1, rows=GOOD).replace("Twist", "Thigh")},
            "line 10 repeats a joint; got Thigh",
        ),
        (
            {"rows": [GOOD], "text": SMALL.format(order=ORDER, frames=1, rows=GOOD).replace("0.05", "0")},
            "no usable frame rate",
        ),
    ],
)
def test_broken_files_say_where(write, arguments, message):
    with pytest.raises(UserError, match=message):
        read_bvh(write(**arguments), MAP)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "clip.bvh").write_bytes(bytes(range(128, 256)))
    with pytest.raises(UserError, match="expected BVH text"):
        read_bvh(tmp_path / "clip.bvh")


def test_a_skeleton_of_no_known_names_gets_the_nearest_map_and_a_start(write):
    with pytest.raises(UserError, match=r"no known skeleton; the nearest is .*got Hips, Thigh, Twist.*--joint-map"):
        read_bvh(write([GOOD]))
    with pytest.raises(UserError, match=r"lacks joints of the map; got no lShin.*--joint-map"):
        read_bvh(write([GOOD]), {"left_knee": ("lShin",)})


def test_a_map_is_read_from_json(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"left_knee": "LeftLeg", "left_hip": ["LeftUpLeg", "LeftUpLegTwist"]}))
    assert read_joint_map(path) == {"left_knee": ("LeftLeg",), "left_hip": ("LeftUpLeg", "LeftUpLegTwist")}
    for text, message in (
        ("{", "Cannot read"),
        ("[1]", "Cannot read"),
        ('{"left_knee": 3}', "Cannot read"),
        ('{"lft_knee": "a"}', "SMPL has not; got lft_knee"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_joint_map(path)
