"""Result files: tables and intervals that fit the errors, published rows that are marked, comparisons that are fair."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from results import report_of

from regressor.checkpoints.regressor_file import save_regressor
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.crop_store import write_crops
from regressor.evaluation.evaluate import BEST_ROW, EvaluationOptions, evaluate_files, evaluate_split
from regressor.evaluation.protocols import protocol
from regressor.evaluation.results import published_rows
from regressor.evaluation.robustness import changes
from tokenizer.engine.errors import UserError


def test_figures_of_a_small_report():
    plain = report_of([10.0, 20.0, 60.0], sequences=["x", "x", "y"]).to_dict()
    row = "regressor, tokens"
    assert plain["errors_mm"][row] == pytest.approx({"mpjpe_mm": 30.0, "pa_mpjpe_mm": 15.0, "pve_mm": 33.0})
    assert plain["per_joint_mm"][row] == pytest.approx({"a": 30.0, "b": 60.0})
    assert plain["per_sequence_mm"]["x"]["samples"] == 2
    assert plain["per_sequence_mm"]["x"][row]["mpjpe_mm"] == pytest.approx(15.0)
    assert plain["per_sequence_mm"]["y"][row]["pve_mm"] == pytest.approx(66.0)
    low, high = plain["intervals_mm"][row]["mpjpe_mm"]
    assert (low, high) == pytest.approx((15.0, 60.0)), "two sequences: both means of one alone are likely enough"
    assert "whole sequences" in plain["intervals"] and plain["sequences"] == [["x", 2], ["y", 1]]


def test_tables_mark_what_is_published():
    text = report_of([10.0, 20.0]).to_markdown()
    assert "| *published for EMDB 1, not measured here: TokenHMR (paper)* | 91.7 | 55.6 | 109.4 |" in text
    assert "Protocol `emdb`" in text and "2 samples" in text and "Boxes: those of the annotation" in text
    assert "| a | 15.0 |" in text and "sequence |" not in text
    assert "published" not in report_of([10.0], "synthetic").to_markdown()
    assert published_rows("3dpw-reference") == published_rows("3dpw") != {}


def test_json_is_whole_and_short():
    report = report_of(np.linspace(1, 90, 500).tolist())
    text = report.to_json()
    assert json.loads(text) == json.loads(json.dumps(report.to_dict()))
    assert len(text.splitlines()) < 150, "per-sample errors stand in one line each"


class Broken(torch.nn.Module):
    """Predicts a body, and for one sample of the batch no number."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.network = inner, inner.network

    def forward(self, images, **given):
        prediction = self.inner(images, **given)
        prediction.betas[1] = torch.nan
        return prediction


def test_a_prediction_that_is_no_number_is_not_left_out(annotated_people, open_body, tokenizer, regressor):
    people = annotated_people(4)
    with pytest.raises(UserError, match=r"Non-finite predictions in row .*; got 1 of them, the first for sample 1"):
        evaluate_split({"it": Broken(regressor.eval())}, people, None, tokenizer, open_body, {}, batch=4)


@pytest.fixture
def gendered_crops(tmp_path, annotated_people):
    path = tmp_path / "crops.h5"
    runs = {"test": [["walk", 2], ["run", 3]]}
    with write_crops(path, 32, {"train": 4, "test": 5}, {"sequences": runs, "boxes": "drawn by hand"}) as writer:
        for seed, (split, count) in enumerate((("train", 4), ("test", 5))):
            writer.append(split, {name: values.numpy() for name, values in annotated_people(count, seed=seed).items()})
    return path


def test_robustness_sequences_and_rules_of_a_store(
    gendered_crops, tmp_path, tokenizer, tiny_config, regressor, open_body
):
    file = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {})
    store = open_crops(gendered_crops)
    assert store.sequences("test") == ["walk"] * 2 + ["run"] * 3 and store.sequences("train") is None
    rules = protocol("emdb", open_body)
    report = evaluate_files(
        [file], store, "test", tokenizer, open_body, EvaluationOptions(robustness=True, device="cpu"), rules=rules
    )
    row = "regressor, tokens"
    assert list(report.rows) == [row, *(f"{row}, {change}" for change in changes()), BEST_ROW]
    plain = report.to_dict()
    assert plain["boxes"] == "drawn by hand" and plain["samples"] == 5 and "ratios" not in plain
    assert {name: figures["samples"] for name, figures in plain["per_sequence_mm"].items()} == {"walk": 2, "run": 3}
    costs = {(entry["change"], entry["metric"]): entry for entry in plain["robustness"]}
    cut = costs["cut 50 %", "mpjpe_mm"]
    assert cut["difference"] == pytest.approx(cut["mean"] - plain["errors_mm"][row]["mpjpe_mm"], abs=1e-3)
    text = report.to_markdown()
    assert f"| {row}, patch 20 % | PVE |" in text and "| walk | 2 |" in text and "grey square" in text


def test_true_bodies_follow_the_gender(annotated_people, tokenizer, regressor, open_body):
    from regressor.evaluation.evaluate import Evaluator, true_points

    class Taller:
        """A body of twice the size."""

        v_template = open_body.v_template

        def joints(self, *args, **given):
            return 2 * open_body.joints(*args, **given)

        def vertices(self, *args, **given):
            return 2 * open_body.vertices(*args, **given)

        def keypoints(self, *args, **given):
            return 2 * open_body.keypoints(*args, **given)

    people = {**annotated_people(3), "gender": torch.tensor([0, 1, 2])}
    bodies = {"neutral": open_body, "female": Taller(), "male": open_body}
    plain = open_body.joints(people["body_pose"], root=people["global_orient"], betas=people["betas"])
    for name, doubled in (("emdb", [1]), ("emdb-reference", [0, 1])):
        truth = true_points(people, Evaluator(protocol(name, open_body), open_body, tokenizer, true_bodies=bodies))
        factor = torch.tensor([2.0 if i in doubled else 1.0 for i in range(3)])[:, None, None]
        assert torch.allclose(truth.joints, factor * plain, atol=1e-5), name

    rules = protocol("3dpw-reference", open_body)
    annotated = {**people, "keypoints_3d": people["keypoints_3d"].clone()}
    annotated["keypoints_3d"][0, 30, :3] += 0.1
    annotated["keypoints_3d"][1, 30, 3] = 0.0
    truth = true_points(annotated, Evaluator(rules, open_body, tokenizer))
    own = open_body.keypoints(people["body_pose"], root=people["global_orient"], betas=people["betas"])
    apart = (truth.keypoints - own).abs().amax(-1)
    assert apart[0, 30] == pytest.approx(0.1, abs=1e-4) and apart[0, :30].max() < 1e-4 and apart[1:].max() < 1e-4


def test_genders_without_bodies_are_told(
    annotated_people, tokenizer, open_body, gendered_crops, tmp_path, regressor, tiny_config, monkeypatch
):
    file = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {})
    store = open_crops(gendered_crops)
    plain = type(store).sample
    monkeypatch.setattr(
        type(store),
        "sample",
        lambda self, rows, split: {**plain(self, rows, split), "gender": torch.ones(len(rows), dtype=torch.int64)},
    )
    for rules in (None, protocol("emdb", open_body)):
        with pytest.raises(UserError, match=r"no female body.*--body"):
            evaluate_files([file], store, "test", tokenizer, open_body, EvaluationOptions(device="cpu"), rules=rules)
    bodies = {"female": open_body, "neutral": open_body}
    report = evaluate_files(
        [file], store, "test", tokenizer, open_body, EvaluationOptions(device="cpu"), true_bodies=bodies
    )
    assert "true female, neutral" in report.to_dict()["bodies"]


def test_the_best_possible_row_is_of_the_true_body(annotated_people, tokenizer, regressor, open_body):
    """The tokens' own error, and nothing of the difference between a gendered shape and the neutral one."""
    people = {**annotated_people(3), "gender": torch.ones(3, dtype=torch.int64)}
    there = {**people, "betas": 5 + people["betas"]}

    class Other:
        """A body whose shape numbers begin at 5."""

        v_template = open_body.v_template

        def joints(self, *args, betas, **given):
            return open_body.joints(*args, betas=betas - 5, **given)

        def vertices(self, *args, betas, **given):
            return open_body.vertices(*args, betas=betas - 5, **given)

    reports = [
        evaluate_split({"it": regressor.eval()}, samples, None, tokenizer, open_body, {}, true_bodies=bodies)
        for samples, bodies in ((people, {"female": open_body}), (there, {"female": Other()}))
    ]
    first, other = (report.rows[BEST_ROW] for report in reports)
    for name, values in first.items():
        assert torch.allclose(values, other[name], atol=0.05), name
    text = reports[0].to_markdown()
    assert "best possible with these tokens" in text and "ceiling" not in text
