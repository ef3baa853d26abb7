"""Joint maps: found by the names of a file's joints, or read from JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tokenizer.engine.errors import UserError
from tokenizer.mocap.joint_maps import find_map, propose, read_joint_map


def test_a_map_file_takes_one_name_or_a_list(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"left_knee": "LeftLeg", "spine1": ["Spine", "Spine1"]}), encoding="utf-8")
    joint_map = read_joint_map(path)
    assert joint_map["left_knee"] == ("LeftLeg",) and joint_map["spine1"] == ("Spine", "Spine1")


def test_joints_that_fit_no_map_are_refused():
    with pytest.raises(UserError):
        find_map(["a", "b", "c"], Path("walk.bvh"))


def test_a_proposal_goes_by_the_likeness_of_names():
    guess = propose(["Hips", "LeftKnee", "RightKnee"])
    assert guess["left_knee"] == "LeftKnee" and guess["right_knee"] == "RightKnee" and guess["pelvis"] == "Hips"
