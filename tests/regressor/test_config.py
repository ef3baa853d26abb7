"""The configuration: impossible values are refused where they are written, presets and losses are what they promise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from regressor.config import (
    PRESETS,
    PUBLISHED_LOSS,
    PUBLISHED_TALS,
    AugmentConfig,
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    OptimConfig,
    RegressorConfig,
    TalsConfig,
    preset,
)
from regressor.losses.choice import check_tokens, with_loss
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from tokenizer.engine.errors import UserError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TalsConfig(keypoints_2d={"knee": 1.0}), "unknown keypoint; got knee; expected names such as nose"),
        (lambda: TalsConfig(rotations={"left_toe": 1.0}), "unknown joint; got left_toe"),
        (lambda: TalsConfig(rotations={"pelvis": -1.0}), "impossible joint threshold; got pelvis -1.0"),
        (lambda: TalsConfig(keypoints_2d={"nose": float("nan")}), "impossible keypoint threshold; got nose nan"),
        (lambda: TalsConfig(weight=1.5), "impossible weight; got 1.5"),
        (lambda: AugmentConfig(flip=1.1), "augment.flip is no probability; got 1.1"),
        (lambda: AugmentConfig(noise_share=-0.1), "augment.noise_share is no probability"),
        (lambda: DataConfig(shuffle_buffer=0), "data.shuffle_buffer"),
        (lambda: OptimConfig(batch=0), "optim.batch"),
        (lambda: RegressorConfig(seed=-1), "That is no seed; got -1"),
        (lambda: RegressorConfig(seed=1 << 63), "That is no seed"),
        (lambda: RegressorConfig(validate_every=0), "validate_every"),
        (lambda: preset("vit-x"), "Unknown preset 'vit-x'; expected one of small, small-6d, keypoints"),
    ],
)
def test_impossible_values_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_published_thresholds_name_every_keypoint_and_joint():
    assert tuple(PUBLISHED_TALS.keypoints_2d) == KEYPOINT_NAMES and set(PUBLISHED_TALS.rotations) == set(JOINT_NAMES)
    assert PUBLISHED_TALS.on and not TalsConfig().on


def test_the_paper_presets_are_vitpose_sizes_under_the_published_loss():
    sizes = {name: (c.backbone.width, *c.backbone.blocks, c.backbone.heads) for name, c in PRESETS.items()}
    assert [sizes[f"vit-{size}"] for size in "sblh"] == [(384, 12, 12), (768, 12, 12), (1024, 24, 16), (1280, 32, 16)]
    for name, config in PRESETS.items():
        assert config.preset == name
        if name.startswith("vit"):
            assert config.loss == PUBLISHED_LOSS and config.backbone.aspect == 0.75 and config.head.add_mean
        check_tokens(config)
    assert BackboneConfig().aspect == 1.0


def test_with_loss_changes_loss_and_mean_pose_together(tmp_path):
    paper = preset("vit-s")
    assert with_loss(paper) == paper
    means = with_loss(paper, form="means")
    assert means.loss == LossConfig() and not means.head.add_mean
    check_tokens(means)
    assert with_loss(preset("small"), compat_reference=True).loss == replace(PUBLISHED_LOSS, compat_reference=True)
    assert not with_loss(paper, tals="none").loss.tals.on
    assert with_loss(preset("small"), tals="published").loss == replace(LossConfig(), tals=PUBLISHED_TALS)
    thresholds = {"loss": {"tals": {"keypoints_2d": {"nose": 0.25}, "source": "mine"}}}
    (tmp_path / "tals.json").write_text(json.dumps(thresholds), encoding="utf-8")
    tals = with_loss(paper, tals=str(tmp_path / "tals.json")).loss.tals
    assert tals == TalsConfig(keypoints_2d={"nose": 0.25}, source="mine")
    (tmp_path / "none.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"none\.json holds no thresholds\. Make one with"):
        with_loss(paper, tals=str(tmp_path / "none.json"))


def test_tokens_of_the_pose_need_a_network_that_adds_no_mean():
    config = RegressorConfig(head=HeadConfig(add_mean=True))
    with pytest.raises(UserError, match=r"head\.add_mean true, loss\.token_weight 0\.1\. Set head\.add_mean=false"):
        check_tokens(config)
    check_tokens(replace(config, head=HeadConfig(pose="rot6d", add_mean=True)))
    check_tokens(replace(config, loss=LossConfig(token_weight=0.0)))
