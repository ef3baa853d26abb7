"""Samples of a keypoint regressor from a pose store."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from simulations import EXACT

from regressor.config import preset
from regressor.datasets.keypoints import samples
from regressor.datasets.keypoints.samples import KeypointStream, PoseSamples, check_evidence, draw_rows, simulate
from regressor.datasets.mixtures import Mixture
from regressor.geometry.camera import project_to_crop
from tokenizer.engine.errors import UserError
from tokenizer.mocap.store import PoseStoreWriter, open_store

CONFIG = replace(preset("keypoints"), optim=replace(preset("keypoints").optim, batch=8))

GOLDEN = {"seen": 0.8356, "points": 0.234513, "hints": 0.144884, "depth": 1.452528, "orientation": 0.461825}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("poses") / "poses.h5"
    draw = np.random.default_rng(0)
    with PoseStoreWriter(path, "test") as writer:
        for name, split, frames in (("a", "train", 400), ("b", "train", 100), ("c", "val", 60)):
            writer.add(name, split, 0.2 * draw.standard_normal((frames, 21, 3)), np.zeros(10), fps=30, licence="none")
    return open_store(path)


@pytest.fixture(scope="module")
def dataset(store, open_body):
    return PoseSamples(store, open_body)


def test_points_are_those_of_the_annotated_body(dataset, open_body):
    poses, _ = dataset.weighted_poses("val")
    sample = simulate(open_body, poses, torch.arange(20), EXACT, 0)
    placed = {"root": sample["global_orient"], "betas": sample["betas"], "translation": sample["translation"]}
    _, points = open_body.detector_points(sample["body_pose"], **placed)
    seen = project_to_crop(points, sample["box"], sample["K"])
    inside = sample["points_2d"][..., 2] > 0.3
    assert inside.float().mean() > 0.8
    assert (sample["points_2d"][..., :2] - seen).abs().max() < 1e-4
    keypoints = project_to_crop(sample["keypoints_3d"][..., :3], sample["box"], sample["K"])
    assert (keypoints - sample["keypoints_2d"][..., :2]).abs().max() < 1e-4
    assert sample["points_2d"][inside][:, :2].abs().max() <= 0.5 + 1e-4  # the box is around the points


def test_val_is_always_the_same_and_its_rules_are_in_the_attributes(store, open_body, dataset):
    first = dataset.sample(np.array([3, 1999, 700]), "val")
    again = PoseSamples(store, open_body).sample(np.array([1999, 3]), "val")
    assert torch.equal(first["points_2d"][[1, 0]], again["points_2d"])
    assert dataset.count("val") == 2000 and dataset.splits == ["train", "val", "val-2d", "val-3d"]
    assert dataset.attributes["val"]["settings"]["error"] == 0.018
    without, everybody = (dataset.sample(np.arange(40), split)["has_points_3d"] for split in ("val-2d", "val-3d"))
    assert everybody.any(1).all() and not without.any()


def test_simulated_val_v1_stays_as_it_is(dataset):
    """Figures of different versions of the code are compared on it: other numbers here are another version."""
    sample = dataset.sample(np.arange(2000), "val")
    seen = sample["points_2d"][..., 2] > 0
    figures = {
        "seen": seen.float().mean(),
        "points": sample["points_2d"][..., :2][seen].abs().mean(),
        "hints": sample["points_3d"].abs().mean(),
        "depth": sample["translation"][:, 2].log().mean(),
        "orientation": sample["global_orient"].abs().mean(),
    }
    for name, value in figures.items():
        assert float(value) == pytest.approx(GOLDEN[name], rel=2e-4), name


def test_a_step_is_decided_by_seed_and_number_alone(dataset, open_body):
    mixture = Mixture.of(dataset)
    stream = KeypointStream(mixture, CONFIG, open_body, slice(0, 8))
    whole = stream[5]
    half = KeypointStream(mixture, CONFIG, open_body, slice(4, 8))[5]
    assert torch.equal(whole["points_2d"][4:], half["points_2d"])
    assert torch.equal(pickle.loads(pickle.dumps(stream))[5]["points_2d"], whole["points_2d"])
    assert not torch.equal(stream[6]["body_pose"], whole["body_pose"])
    other = KeypointStream(mixture, replace(CONFIG, seed=1), open_body, slice(0, 8))[5]
    assert not torch.equal(other["body_pose"], whole["body_pose"])
    assert [len(batch["image"]) for batch in stream.batches(0, 2, 0, torch.device("cpu"))] == [8, 8]


def test_long_sources_count_by_the_root_of_their_length(dataset):
    _, weights = dataset.weighted_poses("train")
    rows = draw_rows(weights, 4000, 0)
    assert (rows < 400).float().mean() == pytest.approx(2 / 3, abs=0.03)
    assert len(rows.unique()) > 450


def test_shares_of_a_mixture_hold(dataset, store, open_body, tmp_path):
    path = tmp_path / "straight.h5"
    with PoseStoreWriter(path, "test") as writer:
        writer.add("straight", "train", np.zeros((10, 21, 3)), np.zeros(10), fps=30, licence="none")
    mixture = Mixture.weighted(
        {"some": dataset, "straight": PoseSamples(open_store(path), open_body)}, "some=1,straight=3"
    )
    plain = replace(CONFIG.simulation, jitter=0, swap=0)
    config = replace(CONFIG, simulation=plain, optim=replace(CONFIG.optim, batch=2000))
    pose = KeypointStream(mixture, config, open_body, slice(0, 2000))[0]["body_pose"]
    straight = (pose - torch.eye(3)).abs().flatten(1).amax(1) < 1e-6
    assert straight.float().mean() == pytest.approx(0.75, abs=0.03)


def test_poses_and_images_do_not_mix(dataset, tiny_config):
    with pytest.raises(UserError, match="cannot see"):
        check_evidence({"poses": dataset}, tiny_config)
    with pytest.raises(UserError, match="holds poses and no images"):
        dataset.people(np.arange(2), "train")
    with pytest.raises(UserError, match="no poses in split 'test'"):
        dataset.count("test")
    with pytest.raises(UserError, match="has 2000 samples"):
        dataset.sample(np.array([2000]), "val")
    assert samples.NUM_VAL == 2000
