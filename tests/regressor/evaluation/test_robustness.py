"""Changed test images: the annotation stays true, the same squares for everyone, nothing given is changed."""

from __future__ import annotations

import torch

from regressor.evaluation.robustness import changes, cut_closer, hide
from regressor.geometry.camera import project_to_crop


def test_a_closer_cut_keeps_annotation_exact(sample, open_body):
    before = {name: values.clone() for name, values in sample.items()}
    for share in (0.1, 0.5):
        cut = cut_closer(sample, share=share)
        side = sample["box"][:, 2] - sample["box"][:, 0]
        assert torch.allclose(cut["box"][:, 2] - cut["box"][:, 0], (1 - share) * side, rtol=1e-4)
        assert torch.allclose(cut["box"].view(-1, 2, 2).mean(1), sample["box"].view(-1, 2, 2).mean(1), atol=1e-3)
        placement = {"root": cut["global_orient"], "betas": cut["betas"], "translation": cut["translation"]}
        seen = project_to_crop(open_body.keypoints(cut["body_pose"], **placement), cut["box"], cut["K"])
        assert torch.allclose(seen, cut["keypoints_2d"][..., :2], atol=1e-3)
        assert not torch.equal(cut["image"], sample["image"])
    assert all(torch.equal(values, before[name]) for name, values in sample.items())


def test_a_closer_cut_shows_the_middle_larger(sample):
    sample = {**sample, "image": torch.zeros(4, 3, 32, 32, dtype=torch.uint8)}
    sample["image"][:, :, 12:20, 12:20] = 200
    assert (cut_closer(sample, share=0.5)["image"] > 100).float().mean() > 3.5 * (sample["image"] > 100).float().mean()


def test_patches_hide_keypoints_and_are_the_same_for_everyone(sample):
    hidden = hide(sample, 7, share=0.4)
    grey = (hidden["image"] == 128).all(1)
    assert (grey.float().mean((1, 2)) > 0.4**2 / 5).all(), "a corner of the square at least"
    assert torch.equal(hidden["image"], hide(sample, 7, share=0.4)["image"])
    assert not torch.equal(hidden["image"], hide(sample, 8, share=0.4)["image"])
    first = {name: values[1:] for name, values in sample.items()}
    assert torch.equal(hidden["image"][1:], hide(first, 8, share=0.4)["image"]), "whatever the batch"
    assert all(torch.equal(hidden[name], sample[name]) for name in sample if name != "image")
    unknown = {**sample, "keypoints_2d": torch.full((4, 44, 3), torch.nan)}
    assert (hide(unknown, 0, share=0.4)["image"] == 128).all(1).any()


def test_names():
    assert list(changes()) == ["cut 10 %", "cut 30 %", "cut 50 %", "patch 20 %", "patch 40 %"]
