"""Evaluation: golden errors, baselines, every sample counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from regressor.checkpoints.regressor_file import save_regressor
from regressor.datasets.crop_dataset import open_crops
from regressor.evaluation.baselines import chordal_mean, training_means
from regressor.evaluation.evaluate import BEST_ROW, REFERENCE_ROW, EvaluationOptions, evaluate_files, evaluate_split
from regressor.sample import take
from regressor.training.validation import joint_errors, score_predictions
from tokenizer.body.rotations import axis_angle_to_matrix


class Oracle(torch.nn.Module):
    """A regressor that knows the answer, for samples told apart by their boxes."""

    def __init__(self, samples, tokenizer):
        super().__init__()
        self.samples = samples
        self.network = torch.nn.Module()
        self.network.mean_betas = torch.nn.Parameter(torch.zeros(10))

    def forward(self, images, *, box, K, body=None):
        from regressor.network.prediction import Prediction

        rows = [int((self.samples["box"] == one).all(-1).nonzero()) for one in box]
        true = {name: self.samples[name][rows] for name in ("global_orient", "body_pose", "betas")}
        return Prediction(
            true["global_orient"][:, None], true["body_pose"], true["betas"], torch.ones(len(rows), 3), box, K
        )


def test_joint_errors_golden():
    """All joints but the pelvis 10 mm to the right: 23/24 of 10 mm; twice the size costs nothing after alignment."""
    target = torch.randn(3, 24, 3)
    moved = target.clone()
    moved[:, 1:, 0] += 0.01
    moved += 5.0
    assert torch.allclose(joint_errors(moved, target)["mpjpe_mm"], torch.tensor(10 * 23 / 24), atol=1e-2)
    turn = axis_angle_to_matrix(torch.tensor([0.3, 1.0, -0.2]))
    errors = joint_errors(2 * target @ turn.T + 1, target)
    assert errors["pa_mpjpe_mm"].max() < 0.01 and errors["mpjpe_mm"].min() > 100


@pytest.fixture
def report(annotated_people, open_body, tokenizer, regressor):
    train, test = annotated_people(9), annotated_people(5, seed=1)
    models = {"tokens": regressor.eval(), "oracle": Oracle(test, tokenizer)}
    means = training_means([train], open_body)
    return evaluate_split(models, test, means, tokenizer, open_body, {"split": "test"}, batch=2), train, test


def test_rows_and_what_they_mean(report, open_body):
    report, train, test = report
    assert list(report.rows) == [
        "tokens",
        "oracle",
        "mean 3D joints",
        "mean pose, mean orientation",
        REFERENCE_ROW,
        BEST_ROW,
    ]
    for row, errors in report.rows.items():
        assert all(values.shape == (5,) for values in errors.values()), "every sample counts, none twice"
        assert ("pve_mm" in errors) == (row != "mean 3D joints")
    means = report.means()
    assert means["oracle"]["mpjpe_mm"] < 0.01 and means["oracle"]["pve_mm"] < 0.01
    assert means[BEST_ROW]["mpjpe_mm"] > 1
    assert means[REFERENCE_ROW]["mpjpe_mm"] < means["mean pose, mean orientation"]["mpjpe_mm"]

    rest = chordal_mean(train["body_pose"]).expand_as(test["body_pose"])
    shape = train["betas"].mean(0).expand_as(test["betas"])
    joints = open_body.joints(rest, root=test["global_orient"], betas=shape)
    truth = open_body.joints(test["body_pose"], root=test["global_orient"], betas=test["betas"])
    by_hand = 1000 * ((joints - joints[:, :1]) - (truth - truth[:, :1])).norm(dim=-1).mean(-1)
    assert torch.allclose(report.rows[REFERENCE_ROW]["mpjpe_mm"], by_hand, atol=0.01)


def test_the_report_says_its_protocol_and_ratios(report):
    report, _, _ = report
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["samples"] == 5 and plain["split"] == "test" and "13,492 vertices" in plain["protocol"]
    assert plain["ratios"][REFERENCE_ROW] == {"mpjpe_mm": 1.0, "pa_mpjpe_mm": 1.0, "pve_mm": 1.0}
    expected = plain["errors_mm"]["tokens"]["mpjpe_mm"] / plain["errors_mm"][REFERENCE_ROW]["mpjpe_mm"]
    assert plain["ratios"]["tokens"]["mpjpe_mm"] == pytest.approx(expected)
    table = report.to_markdown().split("\n\n")[0].splitlines()
    assert table[0] == "| | MPJPE | PA-MPJPE | PVE |" and len([line for line in table if line.startswith("| ")]) == 7
    assert "| mean 3D joints |" in report.to_markdown() and "| – |" in report.to_markdown()


def test_quick_score_equals_the_full_one(annotated_people, open_body, tokenizer, regressor):
    test = annotated_people(5, seed=1)
    quick = score_predictions(regressor.eval(), test, open_body, batch=3)
    means = training_means([annotated_people(4)], open_body)
    full = evaluate_split({"it": regressor}, test, means, tokenizer, open_body, {})
    assert torch.allclose(quick["mpjpe_mm"], full.rows["it"]["mpjpe_mm"], atol=0.05)
    assert quick["orientation_deg"].shape == (5,)


def test_the_baselines_read_no_training_image(
    crops_file, tokenizer, open_body, regressor, tiny_config, tmp_path, monkeypatch
):
    """Four means of the annotation, taken in parts, are those of the whole; images of 100,000 crops are 18 GiB."""
    file = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {"body": "open"})
    store = open_crops(crops_file)
    train = store.annotation(np.arange(12), "train")
    parts = [take(train, slice(0, 5)), take(train, slice(5, 12))]
    whole, joined = training_means([train], open_body), training_means(parts, open_body)
    for name in ("joints", "body_pose", "orientation", "betas"):
        torch.testing.assert_close(getattr(whole, name), getattr(joined, name))
    torch.testing.assert_close(whole.body_pose, chordal_mean(train["body_pose"]))
    torch.testing.assert_close(whole.betas, train["betas"].mean(0))
    sample = store.sample

    def no_training_image(indices, split):
        assert split != "train"
        return sample(indices, split)

    monkeypatch.setattr(store, "sample", no_training_image)
    report = evaluate_files([file], store, "test", tokenizer, open_body, EvaluationOptions(device="cpu"))
    assert REFERENCE_ROW in report.rows
