"""What tokens mean."""

from __future__ import annotations

import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.report.meaning import farthest_changes, layer_name, middle_pose, strongest_joints
from tokenizer.report.places import token_map
from tokenizer.report.poses import Reconstruction


def test_two_uses_of_a_token_are_those_farthest_apart(open_body):
    class ElbowToken:
        """Token 1 bends the left elbow by its id times 0.5 rad."""

        def decode(self, ids):
            pose = torch.zeros(len(ids), 21, 3)
            pose[:, 17, 1] = 0.5 * ids[:, 1]
            return axis_angle_to_matrix(pose)

    ids = torch.tensor([[0, 1], [0, 3], [0, 2], [0, 1]])
    made = Reconstruction(torch.zeros(4, 21, 3), ids, torch.zeros(4), 9)
    assert farthest_changes(made, 1, ids[0], ElbowToken(), open_body).tolist() == [[0, 1], [0, 3]]
    assert farthest_changes(made, 0, ids[0], ElbowToken(), open_body).tolist() == [[0, 1], [0, 1]]


def test_the_middle_pose_and_names_of_layers_and_joints(open_body):
    poses = torch.stack([torch.full((21, 3), 0.3), torch.zeros(21, 3), torch.full((21, 3), -0.3)])
    made = Reconstruction(poses, torch.zeros(3, 1).long(), torch.zeros(3), 1)
    assert middle_pose(made, open_body) == 1
    assert [layer_name(i, 3) for i in range(3)] == ["coarse", "middle", "fine"]
    assert layer_name(0, 1) == "" and layer_name(3, 5) == "layer 4"
    degrees = torch.zeros(21)
    degrees[17], degrees[3] = 12.4, 30.0
    assert strongest_joints(degrees, 2) == "left knee 30°, left elbow 12°"


def test_tokens_stand_in_rows_of_their_layer():
    layered = token_map(torch.arange(6.0), 2, unit="%")
    assert "coarse (0–2)" in layered and "fine (3–5), 2: 5 %" in layered
    flat = token_map(torch.arange(20.0), 1, unit="%")
    assert flat.count("<rect") == 20 and "from 16, 3: 19 %" in flat
