"""What a sample does not know supervises nothing, by any term of any loss: gradients say so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from regressor.config import PUBLISHED_LOSS, LossConfig
from regressor.losses.terms import regression_loss, weight_sums
from regressor.network.prediction import Prediction
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import UserError

ALL_MEANS = LossConfig(keypoints_3d_weight=1.0, vertices_weight=1.0, token_weight=1.0)
LOSSES = {
    "means": ALL_MEANS,
    "published": PUBLISHED_LOSS,
    "published with tokens": replace(PUBLISHED_LOSS, token_weight=1.0),
}
LEAVES = ("global_orient", "body_pose", "betas", "camera", "logits")


def prediction_for(sample, tokenizer):
    """A prediction that is wrong in everything, of leaves; and these by name."""
    draw = torch.Generator().manual_seed(3)
    count = len(sample["betas"])

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    leaves = {
        "global_orient": axis_angle_to_matrix(normal(count, 1, 3)),
        "body_pose": axis_angle_to_matrix(normal(count, 23, 3)),
        "betas": normal(count, 10),
        "camera": torch.tensor([0.8, 0.1, -0.1]).repeat(count, 1),
        "logits": normal(count, tokenizer.num_tokens, tokenizer.levels[0]),
    }
    leaves = {name: values.requires_grad_() for name, values in leaves.items()}
    logits = [leaves["logits"], *(torch.zeros(count, tokenizer.num_tokens, level) for level in tokenizer.levels[1:])]
    parts = (leaves[name] for name in LEAVES[:-1])
    return Prediction(*parts, sample["box"], sample["K"], factor_logits=logits), leaves  # type: ignore[call-arg]


def gradients(sample, tokenizer, body, config, terms=None):
    """Of the sum of the terms (all of them, or those named), by leaf; zeros where nothing leads there."""
    prediction, leaves = prediction_for(sample, tokenizer)
    terms_of_loss = regression_loss(prediction, sample, body, tokenizer, config)
    loss = torch.stack([term for name, term in terms_of_loss.items() if terms is None or name in terms]).sum()
    leaf_gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), leaf_gradients, strict=True)
    }


def unknown(sample, *names, value=torch.nan, row=0):
    """The sample, of whose person ``row`` these are not known; ``value`` stands in their place."""
    sample = {name: values.clone() for name, values in sample.items()}
    for name in names:
        if name.startswith("keypoints"):
            sample[name][row] = value
            sample[name][row, :, -1] = 0
        else:
            sample[f"has_{name}"][row] = False
            sample[name][row] = value
    return sample


BODY = ("joints", "body_joints", "vertices", "betas", "body_pose", "orientation")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("why", ["unknown", "female", "male"])
def test_a_shape_that_is_not_known_pulls_no_betas(loss, why, sample, open_body, tokenizer):
    """Only what is seen of the shape, its keypoints, may move betas."""
    if why == "unknown":
        sample = unknown(sample, "betas")
    else:
        sample["gender"] = torch.tensor([("neutral", "female", "male").index(why), 0, 0, 0])
    pulls = gradients(sample, tokenizer, open_body, LOSSES[loss], BODY)
    assert not pulls["betas"][0].any() and pulls["betas"][1:].any(1).all()
    assert pulls["body_pose"][0].any() and pulls["global_orient"][0].any(), "pose still counts"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["body_pose", "global_orient", "betas", "translation", "keypoints_2d", "keypoints_3d"])
def test_what_stands_in_place_of_the_unknown_is_never_looked_at(loss, name, sample, open_body, tokenizer):
    if name == "translation":  # no loss asks where a body stands: keypoints say it
        versions = [{**sample, name: torch.full_like(sample[name], value)} for value in (torch.nan, 0.0, 5.0)]
    else:
        versions = [unknown(sample, name, value=value) for value in (torch.nan, 0.0, 5.0)]
    first, *others = (gradients(version, tokenizer, open_body, LOSSES[loss]) for version in versions)
    for leaf in LEAVES:
        assert first[leaf].isfinite().all(), leaf
        assert all(torch.equal(first[leaf], other[leaf]) for other in others), leaf


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("names", "still"),
    [
        (("body_pose",), {"global_orient"}),
        (("global_orient",), {"body_pose"}),
        (("body_pose", "global_orient", "betas"), set()),
    ],
)
def test_unknown_rotations_leave_their_part_of_a_prediction_alone(loss, names, still, sample, open_body, tokenizer):
    """Without keypoints nothing but what is known moves; a person of whom nothing is known moves nothing."""
    given = unknown(sample, "keypoints_2d", "keypoints_3d", *names)
    pulls = gradients(given, tokenizer, open_body, LOSSES[loss])
    for name in ("global_orient", "body_pose"):
        assert pulls[name][0].any() == (name in still), name
    assert pulls["betas"][0].any() == ("betas" not in names)
    assert not pulls["camera"][0].any(), "a camera is told by 2D keypoints alone"
    assert pulls["logits"][0].any() == ("body_pose" not in names and LOSSES[loss].token_weight > 0)
    assert pulls["body_pose"][1].any() and pulls["camera"][1].any()


def test_3d_keypoints_say_nothing_about_where_a_body_stands(sample, open_body, tokenizer):
    pulls = gradients(unknown(sample, "keypoints_2d"), tokenizer, open_body, LOSSES["published"])
    assert not pulls["camera"][0].any() and pulls["camera"][1].any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["keypoints_2d", "keypoints_3d"])
@pytest.mark.parametrize("value", [-1.0, 1.5, float("nan")])
def test_confidences_outside_0_to_1_are_refused(loss, name, value, sample, open_body, tokenizer):
    """Minus one made the loss −4.6e7: the more wrong, the better."""
    sample[name][2, 7, -1] = value
    with pytest.raises(UserError, match="Confidences of keypoints"):
        weight_sums(sample, LOSSES[loss])
    prediction, _ = prediction_for(sample, tokenizer)
    with pytest.raises(UserError, match=r"Confidences of keypoints.*0 to 1"):
        regression_loss(prediction, sample, open_body, tokenizer, LOSSES[loss])
