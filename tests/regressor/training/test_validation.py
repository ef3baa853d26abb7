"""Quick figures: golden distances in the image, and what a sample does not know counts for nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.crop_store import write_crops
from regressor.geometry.camera import translation_to_crop_camera
from regressor.losses.keypoint_errors import keypoint_distances, keypoint_scores
from regressor.network.prediction import Prediction
from regressor.training.train import train_regressor
from regressor.training.validation import choose_criterion, known_figures, note_on_genders, score_predictions
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state


def without_bodies(sample, rows=slice(None)):
    """``sample`` with nothing but 2D known of ``rows``, and no numbers in place of the rest."""
    out = {name: value.clone() for name, value in sample.items()}
    for name in ("body_pose", "global_orient", "betas"):
        out[name][rows] = float("nan")
        out[f"has_{name}"][rows] = False
    return out


def test_keypoint_distances_golden(annotated_people, open_body):
    sample = annotated_people(3)
    camera = translation_to_crop_camera(sample["translation"], sample["box"], sample["K"])
    exact = Prediction(
        sample["global_orient"][:, None], sample["body_pose"], sample["betas"], camera, sample["box"], sample["K"]
    )
    assert keypoint_distances(exact, sample, open_body).max() < 1e-4
    sample["keypoints_2d"][0, :, 0] += 0.03
    sample["keypoints_2d"][1, 0, 1] -= 0.4
    sample["keypoints_2d"][2, :, :2] = float("nan")
    sample["keypoints_2d"][2, :, 2] = 0
    sample["keypoints_2d"][2, 4] = torch.cat([sample["keypoints_2d"].new_zeros(2), torch.ones(1)])
    scores = keypoint_scores(keypoint_distances(exact, sample, open_body), sample["keypoints_2d"][..., 2] > 0)
    assert torch.allclose(scores["keypoints_2d_pct"][:2], torch.tensor([3.0, 40 / 44]), atol=0.01)
    assert scores["keypoints_2d_pct"][2].isfinite(), "what is not annotated does not count"
    assert torch.allclose(scores["pck_05_pct"][:2], torch.tensor([100.0, 100 * 43 / 44]))
    sample["keypoints_2d"][0, :, 0] += 0.05
    scores = keypoint_scores(keypoint_distances(exact, sample, open_body), sample["keypoints_2d"][..., 2] > 0)
    assert (scores["pck_05_pct"][0], scores["pck_10_pct"][0]) == (0, 100)


def test_what_is_not_known_does_not_count(annotated_people, open_body, regressor):
    whole = annotated_people(5)
    scores = score_predictions(regressor.eval(), whole, open_body, batch=2)
    assert list(scores) == ["mpjpe_mm", "pa_mpjpe_mm", "orientation_deg", "keypoints_2d_pct"]
    partial = without_bodies(whole, [1, 2, 3])
    partial["keypoints_2d"][4, :, 2] = 0
    partial_scores = score_predictions(regressor, partial, open_body, batch=2)
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "orientation_deg"):
        assert torch.allclose(partial_scores[name], scores[name][[0, 4]], atol=1e-3)
    assert torch.allclose(partial_scores["keypoints_2d_pct"], scores["keypoints_2d_pct"][:4], atol=1e-4)
    nobody = score_predictions(regressor, without_bodies(whole), open_body)
    assert list(nobody) == ["keypoints_2d_pct"]


class Longer:
    """A body one and a half times as large."""

    def __init__(self, body):
        self.body = body

    def joints(self, *args, **given):
        return 1.5 * self.body.joints(*args, **given)


def test_truth_is_of_the_annotated_gender_or_it_is_said(annotated_people, open_body, regressor):
    people = {**annotated_people(4), "gender": torch.tensor([0, 1, 2, 0])}
    plain = score_predictions(regressor.eval(), annotated_people(4), open_body)["mpjpe_mm"]
    bodies = {"neutral": open_body, "male": Longer(open_body)}
    errors = score_predictions(regressor, people, open_body, true_bodies=bodies)["mpjpe_mm"]
    predicted, _ = score_with_shapes(regressor, people, open_body, bodies["male"].joints, people["betas"])
    assert torch.allclose(errors[[0, 3]], plain[[0, 3]], atol=1e-3), "neutral people as ever"
    assert torch.allclose(errors[2], predicted[2], atol=1e-2), "of the male body"
    mean_shape, _ = score_with_shapes(regressor, people, open_body, open_body.joints, torch.zeros(4, 10))
    assert torch.allclose(errors[1], mean_shape[1], atol=1e-2), "without a female body the mean shape stands in"
    note = note_on_genders(people, bodies)
    assert "1 female" in note and "male bodies" not in note.replace("female bodies", "") and "--body" in note
    assert note_on_genders(annotated_people(2), None) is None
    assert note_on_genders(people, {**bodies, "female": open_body}) is None


def score_with_shapes(regressor, people, body, joints_of, betas):
    """MPJPE and PA-MPJPE (B,), mm, against true joints by ``joints_of``."""
    from regressor.network.model import normalise
    from regressor.training.validation import joint_errors

    with torch.no_grad():
        prediction = regressor(normalise(people["image"]), box=people["box"], K=people["K"])
        truth = joints_of(people["body_pose"], root=people["global_orient"], betas=betas)
        return joint_errors(prediction.joints(body), truth).values()


def test_the_best_is_choose_criterion_what_val_knows(annotated_people, tiny_config):
    whole, flat = annotated_people(3), without_bodies(annotated_people(3))
    assert (
        choose_criterion(tiny_config, whole) == "mpjpe_mm" and choose_criterion(tiny_config, flat) == "keypoints_2d_pct"
    )
    assert choose_criterion(replace(tiny_config, best_by="keypoints_2d_pct"), whole) == "keypoints_2d_pct"
    flat["keypoints_2d"][..., 2] = 0
    assert not known_figures(flat)
    with pytest.raises(UserError, match="cannot judge"):
        choose_criterion(tiny_config, flat)


def test_training_on_keypoints_alone_chooses_by_them(tmp_path, annotated_people, tokenizer, tiny_config, open_body):
    with write_crops(tmp_path / "flat.h5", 32, {"train": 8, "val": 4}, {}) as writer:
        for seed, (split, count) in enumerate({"train": 8, "val": 4}.items()):
            people = without_bodies(annotated_people(count, seed=seed))
            writer.append(split, {name: np.nan_to_num(value.numpy()) for name, value in people.items()})
    path = train_regressor(open_crops(tmp_path / "flat.h5"), tokenizer, tmp_path / "run", tiny_config, open_body)
    figures = load_state(path)["provenance"]["metrics"]
    assert list(figures) == ["val_keypoints_2d_pct"] and figures["val_keypoints_2d_pct"] > 0
    assert "chosen by val_keypoints_2d_pct" in (tmp_path / "run" / "log.txt").read_text()
