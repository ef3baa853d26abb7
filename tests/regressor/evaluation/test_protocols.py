"""Scoring rules: equal to recorded figures in both branches of the released code, exact where an answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from regressor.evaluation.protocols import PROTOCOLS, BodyPoints, protocol, read_joint_regressor
from tokenizer.body.metrics import pa_mpjpe, similarity_align
from tokenizer.body.skeleton import KEYPOINT_NAMES, index
from tokenizer.engine.errors import UserError

FILE = Path(__file__).parents[3].parent / "shared" / "reference" / "fixtures" / "metrics" / "golden.npz"
recorded = pytest.mark.skipif(not FILE.exists(), reason="recorded outputs are not part of a clone")


@pytest.fixture(scope="module")
def golden():
    return {name: torch.from_numpy(values) for name, values in np.load(FILE).items()}


class RecordedBody:
    """As much of a body as a rule asks for."""

    def __init__(self, regressor):
        self.J_regressor, self.smpl_joints = regressor, torch.arange(24)
        self.v_template = torch.zeros(regressor.shape[1], 3)


@recorded
@pytest.mark.parametrize(("name", "recorded_as"), [("emdb-reference", "EMDB"), ("3dpw-reference", "3DPW-TEST")])
def test_both_branches_equal_the_recorded_figures(golden, name, recorded_as):
    rules = protocol(name, RecordedBody(golden["J_regressor"]))
    nothing = torch.zeros(10, 24, 3)
    predicted, target = (
        BodyPoints(nothing, golden[f"{which}_vertices"], golden[f"{which}_keypoints_3d"][..., :3])
        for which in ("pred", "gt")
    )
    scores = rules.score(predicted, target)
    means = []
    for ours, theirs in (("pa_mpjpe_mm", "re"), ("mpjpe_mm", "mpjpe"), ("pve_mm", "pve")):
        expected = golden[f"{recorded_as}/mode_{theirs}"]
        assert (scores[ours] - expected).abs().max() < 0.02, ours
        means.append(float(scores[ours].mean()))
    assert means == pytest.approx(golden[f"{recorded_as}/mean"].tolist(), abs=0.02)
    if recorded_as == "3DPW-TEST":
        assert rules.joint_names == tuple(KEYPOINT_NAMES[i] for i in golden["3DPW-TEST/keypoint_list"])
    assert scores["joints_mm"].shape == (10, len(golden[f"{recorded_as}/keypoint_list"]))


@recorded
def test_alignment_equals_the_recorded_one(golden):
    a, b = golden["procrustes/S1"], golden["procrustes/S2"]
    aligned = golden["procrustes/S1_hat"]
    assert (similarity_align(a, b) - aligned).abs().max() <= 2e-5 * max(1.0, float(aligned.abs().max()))
    assert (pa_mpjpe(a, b) - (aligned - b).norm(dim=-1).mean(-1)).abs().max() < 2e-5


@pytest.fixture
def bodies(open_body):
    draw = torch.Generator().manual_seed(0)
    vertices = torch.randn(2, 50, 3, generator=draw)
    return BodyPoints(torch.randn(2, 24, 3, generator=draw), vertices, torch.randn(2, 44, 3, generator=draw))


class SmallBody(RecordedBody):
    def __init__(self):
        super().__init__(torch.rand(24, 50).softmax(-1))


def moved(points, offset):
    return BodyPoints(points.joints + offset, points.vertices + offset, points.keypoints + offset)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_where_a_body_stands_is_no_error_and_ten_millimetres_of_mesh_are(name, bodies):
    h36m = torch.rand(17, 50).softmax(-1)
    rules = protocol(name, SmallBody(), h36m)
    scores = rules.score(moved(bodies, torch.tensor([3.0, -2.0, 1.0])), bodies)
    assert all(values.abs().max() < 0.01 for values in scores.values())
    other = BodyPoints(bodies.joints, bodies.vertices.clone(), bodies.keypoints)
    other.vertices[0, 7, 1] += 0.01
    assert float(rules.score(other, bodies)["pve_mm"][0]) > 0.1
    assert float(rules.score(other, bodies)["pve_mm"][1]) < 1e-3
    assert scores["joints_mm"].shape == (2, len(rules.joint_names))
    assert f"{len(rules.joint_names)}" in rules.rules or "the crown" in rules.rules, "the rule says what it compares"


def test_golden_roots(bodies):
    """The right hip alone moves by 20 mm: the pelvis does not notice, the middle of the hips moves by 10 mm."""
    other = BodyPoints(bodies.joints.clone(), None)
    other.joints[:, index("right_hip"), 0] += 0.02
    target = BodyPoints(bodies.joints, None)
    by_pelvis = protocol("synthetic", SmallBody()).score(other, target)
    by_hips = protocol("emdb", SmallBody()).score(other, target)
    assert by_pelvis["mpjpe_mm"].tolist() == pytest.approx([20 / 24] * 2, rel=1e-3)
    assert by_hips["mpjpe_mm"].tolist() == pytest.approx([10.0] * 2, rel=1e-3), "23 joints by 10, the hip by 10"
    assert torch.allclose(by_pelvis["pa_mpjpe_mm"], by_hips["pa_mpjpe_mm"])
    assert "pve_mm" not in by_hips


def test_3dpw_takes_lsp_joints_and_the_pelvis_of_the_regressor():
    """A regressor that picks vertex r as joint r: LSP's right ankle is row 6, the root row 0."""
    rules = protocol("3dpw", SmallBody(), torch.eye(17, 50))
    assert rules.joint_names[0] == "right_ankle" and len(rules.joint_names) == 14
    target = BodyPoints(torch.zeros(1, 24, 3), torch.randn(1, 50, 3), None)
    other = BodyPoints(target.joints, target.vertices.clone(), None)
    other.vertices[0, 6, 2] += 0.014
    assert float(rules.score(other, target)["mpjpe_mm"][0]) == pytest.approx(1.0, rel=1e-3)
    other.vertices[0, 0, 2] += 0.014
    assert float(rules.score(other, target)["mpjpe_mm"][0]) == pytest.approx(13.0, rel=1e-3)


def test_bad_rules_and_regressors_are_told(tmp_path):
    with pytest.raises(UserError, match="Unknown protocol"):
        protocol("h36m", SmallBody())
    with pytest.raises(UserError, match="--joint-regressor"):
        protocol("3dpw", SmallBody())
    np.save(tmp_path / "good.npy", np.ones((17, 50)))
    assert read_joint_regressor(tmp_path / "good.npy", 50).shape == (17, 50)
    np.savez(tmp_path / "good.npz", J=np.ones((17, 50)))
    assert read_joint_regressor(tmp_path / "good.npz", 50).dtype == torch.float32
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    for name in ("objects.npy", "text.npy", "absent.npy"):
        with pytest.raises(UserError, match="Cannot read joint regressor"):
            read_joint_regressor(tmp_path / name, 50)
    with pytest.raises(UserError, match=r"expected one of \(17, 60\)"):
        read_joint_regressor(tmp_path / "good.npy", 60)
