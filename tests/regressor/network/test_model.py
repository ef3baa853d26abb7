"""The whole regressor: shapes, meaning of its outputs, both pose heads, strict weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from regressor.config import HeadConfig
from regressor.network.model import build_regressor, normalise
from tokenizer.engine.errors import UserError
from tokenizer.frozen import load_tokenizer


def predict(regressor, sample):
    with torch.no_grad():
        return regressor.eval()(normalise(sample["image"]), box=sample["box"], K=sample["K"])


def test_shapes(regressor, sample, open_body):
    prediction = predict(regressor, sample)
    shapes = {
        "global_orient": (4, 1, 3, 3),
        "body_pose": (4, 23, 3, 3),
        "betas": (4, 10),
        "camera": (4, 3),
        "token_logits": (4, 6, 32),
        "token_ids": (4, 6),
    }
    for name, shape in shapes.items():
        assert tuple(getattr(prediction, name).shape) == shape, name
    assert [tuple(part.shape) for part in prediction.factor_logits] == [(4, 6, 4), (4, 6, 4), (4, 6, 2)]
    assert prediction.vertices(open_body).shape == (4, 13492, 3)
    assert prediction.vertices(open_body, open_body.subset(16)).shape == (4, 16, 3)
    assert prediction.keypoints(open_body).shape == (4, 44, 3) and prediction.joints(open_body).shape == (4, 24, 3)
    assert prediction.camera_translation().shape == (4, 3) and (prediction.camera_translation()[:, 2] > 0).all()


def test_rotations_are_rotations_and_hands_rest(regressor, sample):
    prediction = predict(regressor, sample)
    for rotations in (prediction.global_orient, prediction.body_pose):
        assert torch.allclose(rotations @ rotations.transpose(-1, -2), torch.eye(3).expand_as(rotations), atol=1e-5)
        assert torch.allclose(torch.linalg.det(rotations), torch.ones(rotations.shape[:-2]), atol=1e-5)
    assert torch.equal(prediction.body_pose[:, 21:], torch.eye(3).expand(4, 2, 3, 3))


def test_the_pose_is_the_soft_decoding_of_the_logits(regressor, sample, tokenizer):
    prediction = predict(regressor, sample)
    probabilities = prediction.token_logits.exp()
    assert torch.allclose(probabilities.sum(-1), torch.ones(4, 6), atol=1e-5)
    assert torch.allclose(tokenizer.decode_soft(probabilities), prediction.body_pose[:, :21], atol=1e-5)
    assert torch.equal(probabilities.argmax(-1), prediction.token_ids)


def test_every_trained_weight_gets_a_gradient_and_the_vocabulary_none(regressor, sample, open_body, tokenizer):
    from regressor.config import LossConfig
    from regressor.losses.terms import regression_loss

    prediction = regressor.train()(normalise(sample["image"]), box=sample["box"], K=sample["K"])
    terms = regression_loss(prediction, sample, open_body, tokenizer, LossConfig())
    torch.stack(list(terms.values())).sum().backward()
    idle = [name for name, p in regressor.network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert all(p.grad is None for p in tokenizer.parameters())
    assert not any(name.startswith("tokenizer") for name in regressor.network.state_dict())


def test_the_6d_head_stands_behind_the_same_interface(tiny_config, tokenizer, sample, open_body):
    regressor = build_regressor(replace(tiny_config, head=HeadConfig(pose="rot6d")), tokenizer)
    prediction = predict(regressor, sample)
    assert prediction.body_pose.shape == (4, 23, 3, 3) and prediction.factor_logits is None
    assert prediction.vertices(open_body).shape == (4, 13492, 3)
    with pytest.raises(UserError, match="predicts no tokens"):
        _ = prediction.token_logits


def test_an_untrained_network_predicts_the_means_it_was_given(tiny_config, tokenizer, sample):
    from regressor.geometry.camera import ray_rotation, translation_to_crop_camera
    from tokenizer.body.rotations import geodesic_distance

    regressor = build_regressor(replace(tiny_config, head=HeadConfig(pose="rot6d")), tokenizer)
    box, intrinsics = sample["box"], sample["K"]
    camera = translation_to_crop_camera(sample["translation"], box, intrinsics)
    relative = ray_rotation(box, intrinsics).transpose(-1, -2) @ sample["global_orient"]
    one = slice(0, 1)
    regressor.network.init_from_statistics(
        relative[one], sample["body_pose"][one, :21], sample["betas"][one], camera[one]
    )
    with torch.no_grad():
        for head in (regressor.network.orientation, regressor.network.shape, regressor.network.camera):
            head.weight.zero_()
        regressor.network.pose_head.out.weight.zero_()
    prediction = predict(regressor, sample)
    assert torch.allclose(prediction.global_orient[0, 0], sample["global_orient"][0], atol=1e-5)
    assert torch.allclose(prediction.body_pose[0], sample["body_pose"][0], atol=1e-5)
    assert torch.allclose(prediction.camera_translation()[0], sample["translation"][0], atol=1e-4)
    # The same person seen in another direction is turned with the viewing ray, not with the camera.
    turned = geodesic_distance(ray_rotation(box, intrinsics)[1], ray_rotation(box, intrinsics)[0])
    between = geodesic_distance(prediction.global_orient[1, 0], prediction.global_orient[0, 0])
    assert torch.allclose(turned, between, atol=1e-4)


def test_crop_sizes_that_do_not_fit_are_refused(tiny_config, tokenizer):
    with pytest.raises(UserError, match="multiple of 32"):
        build_regressor(replace(tiny_config, image_size=100), tokenizer)


def test_moving_the_regressor_moves_the_vocabulary(tiny_config, tokenizer_file):
    regressor = build_regressor(tiny_config, load_tokenizer(tokenizer_file)).to(torch.float64)
    assert regressor.tokenizer.codebook.dtype == torch.float64


def test_what_it_never_saw_stays_within_reach(tiny_config, tokenizer, sample):
    torch.manual_seed(0)
    betas, camera = torch.randn(50, 10), torch.rand(50, 3)
    predictions = {}
    for bounded in (False, True):
        network = build_regressor(replace(tiny_config, head=HeadConfig(bounded=bounded)), tokenizer).network
        network.init_from_statistics(torch.eye(3).expand(50, 3, 3), torch.eye(3).expand(50, 21, 3, 3), betas, camera)
        with torch.no_grad():
            network.camera.bias.fill_(1e3)
            network.shape.bias.fill_(-1e3)
            predictions[bounded] = network(normalise(sample["image"]), torch.zeros(4, 3))
    assert predictions[False].camera.min() > 900 and predictions[False].betas.max() < -900
    limit = camera.mean(0) + 1.5 * (camera - camera.mean(0)).abs().amax(0)
    assert torch.allclose(predictions[True].camera, limit.expand(4, 3), atol=1e-4)
    assert (predictions[True].betas > betas.mean(0) - 1.51 * (betas - betas.mean(0)).abs().amax(0)).all()
