"""Data without bodies: 2D figures, and plain words that there is no 3D truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.datasets.crop_store import write_crops
from regressor.evaluation.evaluate_2d import evaluate_keypoints
from regressor.training.validation import score_predictions
from tokenizer.engine.errors import UserError

ROW = "regressor, tokens"


def flat(sample, rows=slice(None)):
    """``sample`` that knows nothing but 2D of ``rows``."""
    out = {name: value.clone() for name, value in sample.items()}
    for name in ("body_pose", "global_orient", "betas"):
        out[f"has_{name}"][rows] = False
    return out


@pytest.fixture
def evaluator(tmp_path, regressor, tiny_config, tokenizer, tokenizer_file):
    """(samples, *options) → the command's result on them as split test."""
    file = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {})

    def run(samples, *options):
        with write_crops(tmp_path / "crops.h5", 32, {"test": len(samples["image"])}, {}) as writer:
            writer.append("test", {name: value.numpy() for name, value in samples.items()})
        command = ["evaluate", str(file), str(tmp_path / "crops.h5"), "--tokenizer", str(tokenizer_file)]
        return CliRunner().invoke(main, [*command, "--device", "cpu", *options])

    return run


def test_the_command_on_keypoints_alone(tmp_path, evaluator, annotated_people, regressor, open_body):
    samples = flat(annotated_people(6))
    samples["keypoints_2d"][4, 1:, 2] = 0
    samples["keypoints_2d"][5, :, 2] = 0
    done = evaluator(samples, "--json", str(tmp_path / "e.json"))
    assert done.exit_code == 0, done.output
    assert "There is no 3D truth" in done.output and "MPJPE" not in done.output
    assert "6 samples, 1 of them without a keypoint" in done.output and "| left_knee |" in done.output
    plain = json.loads((tmp_path / "e.json").read_text())
    assert plain["samples_without_keypoints"] == 1 and plain["samples_with_bodies"] == 0 and "errors_mm" not in plain
    quick = score_predictions(regressor.eval(), samples, open_body)["keypoints_2d_pct"]
    np.testing.assert_allclose(plain["per_sample"][ROW]["keypoints_2d_pct"], quick, atol=2e-3)
    assert plain["means"][ROW]["keypoints_2d_pct"] == pytest.approx(float(quick.mean()), abs=1e-3)
    low, high = plain["intervals"][ROW]["keypoints_2d_pct"]
    assert low <= plain["means"][ROW]["keypoints_2d_pct"] <= high
    assert 0 <= plain["means"][ROW]["pck_05_pct"] <= plain["means"][ROW]["pck_10_pct"] <= 100


def test_some_bodies_are_neither_hidden_nor_scored(evaluator, annotated_people):
    people = flat(annotated_people(5), [1, 2])
    done = evaluator(people, "--protocol", "emdb")
    assert done.exit_code == 2 and "cannot be scored in 3D" in done.output and "--protocol 2d" in done.output
    done = evaluator(people, "--protocol", "2d")
    assert done.exit_code == 0 and "3 of the samples know something of their bodies" in done.output
    done = evaluator(flat(annotated_people(3)), "--robustness")
    assert done.exit_code == 2 and "Robustness" in done.output


def test_nothing_to_score_and_no_numbers_are_told(annotated_people, regressor, open_body, evaluator):
    nothing = flat(annotated_people(2))
    nothing["keypoints_2d"][..., 2] = 0
    assert "neither bodies nor 2D keypoints" in evaluator(nothing).output
    with torch.no_grad():
        regressor.network.mean_betas.fill_(float("nan"))
    with pytest.raises(UserError, match="Non-finite"):
        evaluate_keypoints({ROW: regressor.eval()}, [flat(annotated_people(2))], open_body, {})


def test_sequences_are_drawn_as_wholes(annotated_people, regressor, open_body):
    parts = [flat(annotated_people(4, seed=seed)) for seed in (0, 1)]
    report = evaluate_keypoints({ROW: regressor.eval()}, parts, open_body, {}, ["a"] * 4 + ["b"] * 4)
    errors = report.rows[ROW]["keypoints_2d_pct"]
    low, high = report.to_dict()["intervals"][ROW]["keypoints_2d_pct"]
    assert sorted([float(errors[:4].mean()), float(errors[4:].mean())]) == pytest.approx([low, high], rel=1e-4)
    assert "whole sequences" in report.to_markdown()
