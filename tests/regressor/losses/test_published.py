"""TokenHMR's loss: equal to its recorded values and gradients with its habits, right without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from regressor.config import PUBLISHED_LOSS, PUBLISHED_TALS, LossConfig, RegressorConfig, TalsConfig, preset
from regressor.losses.choice import with_loss
from regressor.losses.published import published_terms
from regressor.losses.terms import regression_loss, token_cross_entropy, vertices_loss
from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from tokenizer.engine.errors import UserError

FILE = Path(__file__).parents[3].parent / "shared" / "reference" / "fixtures" / "losses" / "golden.npz"
recorded = pytest.mark.skipif(not FILE.exists(), reason="recorded outputs are not part of a clone")
COMPAT = replace(PUBLISHED_LOSS, compat_reference=True)
OFF = TalsConfig()


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(FILE))


def recorded_batch(golden):
    """The recorded annotation as a Sample, and the predictions, as leaves."""
    given = {name.removeprefix("in/"): values for name, values in golden.items() if name.startswith("in/")}
    names = given.pop("dataset")
    tensors = {name: torch.from_numpy(values) for name, values in given.items()}
    sample = {
        "keypoints_2d": tensors["keypoints_2d"],
        "keypoints_3d": tensors["keypoints_3d"],
        "betas": tensors["gt_betas"],
        "global_orient": axis_angle_to_matrix(tensors["gt_global_orient"]),
        "body_pose": axis_angle_to_matrix(tensors["gt_body_pose"].view(-1, 23, 3)),
        "true_3d": torch.tensor([name.startswith(("H36M", "BEDLAM")) for name in names]),
        **{f"has_{name}": tensors[f"has_{name}"] > 0 for name in ("global_orient", "body_pose", "betas")},
    }
    predicted = {
        name: tensors[f"pred_{name}"].clone().requires_grad_()
        for name in ("global_orient", "body_pose", "betas", "keypoints_3d", "keypoints_2d")
    }
    return sample, predicted


def terms_of(sample, predicted, config, **options):
    return published_terms(
        predicted["global_orient"][:, 0],
        predicted["body_pose"],
        predicted["betas"],
        predicted["keypoints_3d"],
        predicted["keypoints_2d"],
        sample,
        config,
        **options,
    )


def weighted_sum(terms, config):
    return torch.stack([getattr(config, f"{name}_weight") * term for name, term in terms.items()]).sum()


@recorded
def test_published_thresholds_and_weights_are_the_recorded_ones(golden):
    values = torch.tensor([PUBLISHED_TALS.keypoints_2d[name] for name in KEYPOINT_NAMES])
    assert torch.equal(values, torch.from_numpy(golden["thresh/kp2D"]))
    turns = torch.tensor([PUBLISHED_TALS.rotations[name] for name in JOINT_NAMES])
    expected = np.concatenate([golden["thresh/global_orient"], golden["thresh/body_pose"]])
    assert torch.equal(turns, torch.from_numpy(expected))
    weights = [
        getattr(PUBLISHED_LOSS, f"{name}_weight")
        for name in ("keypoints_3d", "keypoints_2d", "orientation", "body_pose", "betas")
    ]
    assert weights == golden["loss_weights"].tolist()


@recorded
@pytest.mark.parametrize(
    ("case", "tals", "training"),
    [
        ("loose1_train1", PUBLISHED_TALS, True),
        ("loose1_train0", PUBLISHED_TALS, False),
        ("loose0_train1", OFF, True),
        ("loose0_train0", OFF, False),
    ],
)
def test_values_and_gradients_equal_the_recorded_ones(golden, case, tals, training):
    config = replace(COMPAT, tals=tals)
    sample, predicted = recorded_batch(golden)
    before = {name: values.clone() for name, values in sample.items()}
    terms = terms_of(sample, predicted, config, training=training)
    for name, term in terms.items():
        theirs = golden[f"{case}/loss_{'global_orient' if name == 'orientation' else name}"]
        assert float(term.detach()) == pytest.approx(float(theirs), rel=2e-5), name
    loss = weighted_sum(terms, config)
    assert float(loss.detach()) == pytest.approx(float(golden[f"{case}/loss"]), rel=2e-5)
    loss.backward()
    for name, values in predicted.items():
        theirs = golden[f"{case}/grad_{name}"]
        assert np.abs(values.grad.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max(), name
    assert all(torch.equal(values, before[name]) for name, values in sample.items()), "nothing given is changed"


@recorded
def test_the_parts_equal_the_recorded_ones(golden):
    sample, predicted = recorded_batch(golden)
    for name in ("global_orient", "body_pose"):
        turned = geodesic_distance(predicted[name].detach(), sample[name].view_as(predicted[name]))
        assert np.abs(turned.numpy() - golden[f"joint_angle_error/{name}"]).max() < 2e-4
    # The recorded cross-entropy is fed with what is a softmax already.
    tokens, everyone = torch.from_numpy(golden["tokenloss/tokens"]), torch.ones(2, dtype=torch.bool)
    ours = token_cross_entropy([torch.from_numpy(golden["tokenloss/softmax"])], [tokens], everyone)
    assert float(ours) == pytest.approx(float(golden["tokenloss/out"]), rel=2e-5)
    a, b = torch.from_numpy(golden["vertloss/a"]), torch.from_numpy(golden["vertloss/b"])
    for kind in ("l1", "l2"):
        expected = pytest.approx(float(golden[f"vertloss/{kind}"]), rel=2e-5)
        assert float(vertices_loss(a, b, everyone, kind)) == expected


def people(count=3):
    """A sample that knows everything, and predictions that are just right."""
    draw = torch.Generator().manual_seed(0)
    pose = axis_angle_to_matrix(torch.randn(count, 23, 3, generator=draw))
    orientation = axis_angle_to_matrix(torch.randn(count, 3, generator=draw))
    points, pixels = torch.randn(count, 44, 3, generator=draw), 0.2 * torch.randn(count, 44, 2, generator=draw)
    yes, one = torch.ones(count, dtype=torch.bool), torch.ones(count, 44, 1)
    sample = {
        "keypoints_2d": torch.cat([pixels, one], -1),
        "keypoints_3d": torch.cat([points, one], -1),
        "body_pose": pose,
        "global_orient": orientation,
        "betas": torch.zeros(count, 10),
        "has_body_pose": yes,
        "has_global_orient": yes.clone(),
        "has_betas": yes.clone(),
        "true_3d": torch.zeros_like(yes),
    }
    predicted = {
        "global_orient": orientation[:, None].clone(),
        "body_pose": pose.clone(),
        "betas": torch.zeros(count, 10),
        "keypoints_3d": points.clone(),
        "keypoints_2d": pixels.clone(),
    }
    return sample, predicted


def test_golden_sums():
    sample, predicted = people()
    predicted["keypoints_2d"][1, 0] += torch.tensor([0.3, -0.1])
    predicted["keypoints_3d"][2, 5, 0] += 2.0
    predicted["keypoints_3d"] += 7.0
    predicted["betas"][0, 0] = 3.0
    terms = terms_of(sample, predicted, replace(PUBLISHED_LOSS, tals=OFF))
    expected = {"keypoints_2d": 0.4, "keypoints_3d": 2.0, "orientation": 0, "body_pose": 0, "betas": 9.0}
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, abs=1e-3), name


def test_without_the_habits_flags_and_known_betas_count():
    """What is unknown does not count, be it measured data; betas count wherever known."""
    sample, predicted = people(2)
    sample["true_3d"] = torch.tensor([True, False])
    predicted["betas"] += 1.0
    predicted["body_pose"] = predicted["body_pose"].flip(0)
    sample["has_body_pose"] = torch.tensor([False, False])
    right, as_released = (terms_of(sample, predicted, config) for config in (PUBLISHED_LOSS, COMPAT))
    assert float(right["body_pose"]) == 0 and float(as_released["body_pose"]) > 1
    assert float(right["betas"]) == pytest.approx(20) and float(as_released["betas"]) == pytest.approx(10)


def test_unknown_may_hold_anything():
    sample, predicted = people(2)
    plain = terms_of(sample, predicted, PUBLISHED_LOSS)
    for name in ("body_pose", "global_orient", "betas"):
        sample[f"has_{name}"] = torch.zeros(2, dtype=torch.bool)
        sample[name] = torch.full_like(sample[name], torch.nan)
    sample["keypoints_2d"] = sample["keypoints_2d"].clone()
    sample["keypoints_2d"][:, 3] = torch.tensor([torch.nan, torch.nan, 0.0])
    sample["keypoints_3d"][:, 3] = torch.tensor([torch.nan, torch.nan, torch.nan, 0.0])
    for config in (PUBLISHED_LOSS, COMPAT):
        terms = terms_of(sample, predicted, config)
        assert all(torch.isfinite(term) for term in terms.values()) and terms.keys() == plain.keys()


def test_regression_loss_takes_the_published_form(regressor, sample, open_body, tokenizer):
    from regressor.network.model import normalise

    prediction = regressor.eval()(normalise(sample["image"]), box=sample["box"], K=sample["K"])
    terms = regression_loss(prediction, sample, open_body, tokenizer, replace(PUBLISHED_LOSS, token_weight=0.5))
    assert set(terms) == {"keypoints_3d", "keypoints_2d", "orientation", "body_pose", "betas", "token"}
    apart = prediction.betas - sample["betas"]
    assert float(terms["betas"].detach()) == pytest.approx(5e-4 * float(apart.detach().square().sum()), rel=1e-5)
    torch.stack(list(terms.values())).sum().backward()


def test_choices_of_the_command_line(tmp_path):
    config = RegressorConfig()
    assert with_loss(config) == config
    assert with_loss(config, form="published").loss == PUBLISHED_LOSS == preset("vit-b").loss
    assert with_loss(preset("vit-b"), form="means").loss == LossConfig()
    assert with_loss(config, compat_reference=True).loss == COMPAT
    assert with_loss(config, form="published", tals="none").loss.tals == OFF
    assert with_loss(config, tals="published").loss == LossConfig(tals=PUBLISHED_TALS)
    file = tmp_path / "t.json"
    file.write_text('{"loss": {"tals": {"keypoints_2d": {"nose": 0.01}}}}')
    assert with_loss(config, tals=str(file)).loss.tals == TalsConfig(keypoints_2d={"nose": 0.01})
    file.write_text("{}")
    with pytest.raises(UserError, match="holds no thresholds"):
        with_loss(config, tals=str(file))


def test_3d_without_its_pelvis_counts_by_habit_alone():
    """The annotation is relative to the pelvis: where that is unknown, what stands in its place is no truth."""
    sample, predicted = people(2)
    pelvis = KEYPOINT_NAMES.index("mpii_pelvis")
    sample["keypoints_3d"][0, pelvis] = 0.0
    for config, counts in ((PUBLISHED_LOSS, False), (COMPAT, True)):
        term = terms_of(sample, predicted, replace(config, tals=OFF))["keypoints_3d"]
        assert (float(term) > 1) == counts
    sample["keypoints_3d"][0, pelvis] = torch.tensor([torch.nan, torch.nan, torch.nan, 0.0])
    assert torch.isfinite(terms_of(sample, predicted, PUBLISHED_LOSS)["keypoints_3d"])
