"""Poses of the report."""

from __future__ import annotations

import re

import pytest
import torch
from report_page import HOSTILE

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import UserError
from tokenizer.frozen import load_tokenizer
from tokenizer.mocap.store import open_store
from tokenizer.report.poses import Reconstruction, frame_names, reconstruct, worst_poses


def test_the_worst_come_first_and_neighbours_are_left_out(folder, open_body):
    pose = 0.4 * torch.randn(1, 21, 3, generator=torch.Generator().manual_seed(0))
    poses = torch.cat([pose, pose + 1e-3, -pose, torch.zeros(1, 21, 3)])
    frozen = load_tokenizer(folder / "run" / "tokenizer.h5")
    ids = frozen.encode(axis_angle_to_matrix(poses))
    made = Reconstruction(poses, ids, torch.tensor([50.0, 60.0, 10.0, 70.0]), 16)
    sheet = worst_poses(made, frozen, open_body, ["first", "second", "third", "fourth"])
    shown = re.findall(r"<b>([\d.]+) mm</b>.*?<br>(\w+)<", sheet)
    assert shown == [("70.0", "fourth"), ("60.0", "second"), ("10.0", "third")]
    assert len(re.findall("<figure", worst_poses(made, frozen, open_body, ["x"] * 4, count=2))) == 2


def test_every_pose_and_token_counts(folder, open_body):
    store = open_store(folder / "poses.h5")

    class Constant:
        num_codes = 4

        def encode(self, rotations):
            return rotations.new_zeros(len(rotations), 3).long() + torch.tensor([2, 2, 1])

        def decode(self, ids):
            return torch.eye(3).expand(len(ids), 21, 3, 3)

    made = reconstruct(store, Constant(), open_body, batch=7)
    assert made.code_counts().tolist() == [0, 60, 120, 0]
    assert made.code_counts(slice(2, 3)).tolist() == [0, 60, 0, 0]
    assert torch.equal(made.token_perplexity(), torch.ones(3))
    still = open_body.joints(torch.eye(3).expand(21, 3, 3))
    turned = open_body.joints(axis_angle_to_matrix(made.poses[11]))
    assert float(made.error_mm[11]) == pytest.approx(1000 * float((still - turned)[1:].norm(dim=-1).mean()), rel=1e-4)
    names = frame_names(store)
    assert len(names) == 60 and names[31] == f"{HOSTILE}, frame\u00a01"
    with pytest.raises(UserError, match="no poses in split 'test'"):
        reconstruct(store, Constant(), open_body, split="test")
