"""Equal to the original's recorded numbers, on a clone: tokenizer, heads, published loss, 3DPW scores, camera."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from regressor.checkpoints.reference import head_keys
from regressor.config import PUBLISHED_LOSS, PUBLISHED_TALS, TalsConfig, preset
from regressor.evaluation.protocols import BodyPoints, protocol
from regressor.geometry.camera import crop_camera_to_translation
from regressor.losses.published import published_terms
from regressor.network.decoders import Decoded
from regressor.network.model import build_regressor
from tokenizer import load_tokenizer
from tokenizer.artifact import export_tokenizer
from tokenizer.body.metrics import pa_mpjpe
from tokenizer.body.rotations import axis_angle_to_matrix, rot6d_to_matrix
from tokenizer.body.skeleton import KEYPOINT_NAMES, keypoint_index
from tokenizer.config import NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.network.model import build_tokenizer
from tokenizer.reference import KEY_TABLE

FILE = Path(__file__).parent / "goldens" / "original.npz"


@pytest.fixture(scope="module")
def golden():
    return {name: torch.from_numpy(values) for name, values in np.load(FILE).items()}


def close(ours, theirs, tolerance=2e-5):
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


def drawn_weight(name, shape, seed=1):
    """The weights of the recording, drawn from their names alone."""
    draw = np.random.RandomState((zlib.crc32(name.encode()) ^ (seed * 2654435761)) & 0xFFFFFFFF)
    values = draw.standard_normal(size=tuple(shape))
    if len(shape) == 1:
        values = 1 + 0.1 * values if name.endswith(".weight") else 0.02 * values
    elif len(shape) == 3:
        values = values * np.sqrt(2.0 / (shape[1] * shape[2]))
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    values = values * {"class_pred_layer.weight": 4, "deccam.weight": 0.1}.get(".".join(name.split(".")[-2:]), 1)
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def tiny(golden):
    quantizer = QuantizerConfig(kind="ema_vq", num_tokens=160, num_codes=64, dim=16)
    model = build_tokenizer(NetworkConfig(kind="conv", width=32), quantizer).eval()
    state = model.state_dict()
    for ours, theirs in KEY_TABLE.items():
        state[ours] = drawn_weight(theirs, state[ours].shape)
    state["quantizer.codebook"] = golden["tokenizer/codebook"]
    model.load_state_dict(state)
    return model


@torch.no_grad()
def test_the_tokenizer_equals_the_original(golden, tiny):
    rotations = axis_angle_to_matrix(golden["tokenizer/in_aa"])
    latents = tiny.latents(rotations)
    close(latents[:1].transpose(1, 2)[:, :, ::4], golden["tokenizer/enc_out"])
    quantized = tiny.quantizer(latents)
    assert torch.equal(quantized.ids, golden["tokenizer/code_idx"].long())
    close(quantized.commitment, golden["tokenizer/commit_loss"])
    close(tiny.decoder(quantized.values), golden["tokenizer/dec_6d"])


@pytest.fixture(scope="module")
def heads(golden, tiny, tmp_path_factory):
    """A regressor whose heads have the drawn weights; its decoder and its ViT are not asked."""
    path = tmp_path_factory.mktemp("tiny") / "tokenizer.h5"
    quantizer = QuantizerConfig(kind="ema_vq", num_tokens=160, num_codes=64, dim=16)
    export_tokenizer(tiny, TokenizerConfig(network=NetworkConfig(kind="conv", width=32), quantizer=quantizer), path)
    config = preset("vit-h")
    config = replace(
        config,
        backbone=replace(config.backbone, width=32, blocks=(1,), heads=4),
        decoder=replace(config.decoder, dim=32, layers=1, width=64, hidden=48, heads=2),
    )
    regressor = build_regressor(config, load_tokenizer(path)).eval()
    state = regressor.network.state_dict()
    for ours, theirs in head_keys(0).items():
        state[ours] = drawn_weight(theirs, state[ours].shape)
    orientation, body, hands, betas, camera = golden["heads/means"].split((6, 21 * 6, 2 * 6, 10, 3))
    state |= {"mean_orientation6d": orientation, "mean_pose6d": body.view(21, 6), "mean_hands6d": hands.view(2, 6)}
    regressor.network.load_state_dict(state | {"mean_betas": betas, "mean_camera": camera})
    return regressor


@torch.no_grad()
def test_the_heads_equal_the_original(golden, heads):
    raw = heads.network._heads(Decoded(golden["heads/readout"], None))
    close(raw.pose[0][:, ::80], golden["heads/logits"])
    close(heads.tokenizer.decode_factored_rot6d([raw.pose[0].softmax(-1)]), golden["heads/pose_6d"])
    turned = rot6d_to_matrix(torch.cat([raw.orientation6d[:, None], raw.hands6d], 1))
    close(turned, golden["heads/orient_and_hands"])
    close(raw.betas, golden["heads/betas"])
    close(raw.camera, golden["camera/pred_cam"])


def test_3dpw_scores_equal_the_original(golden, open_body):
    rules = protocol("3dpw-reference", open_body)
    places = [KEYPOINT_NAMES.index(name) for name in rules.joint_names] + [keypoint_index("mpii_pelvis")]

    def bodies(points):
        keypoints = torch.zeros(2, len(KEYPOINT_NAMES), 3)
        keypoints[:, places] = points
        return BodyPoints(joints=torch.zeros(2, 24, 3), keypoints=keypoints)

    scores = rules.score(*map(bodies, golden["metrics/points"]))
    close(torch.stack([scores["mpjpe_mm"], scores["pa_mpjpe_mm"]]), golden["metrics/errors_mm"])


@pytest.mark.parametrize(
    ("case", "tals", "training"),
    [
        (0, PUBLISHED_TALS, True),
        (1, PUBLISHED_TALS, False),
        (2, TalsConfig(), True),
        (3, TalsConfig(), False),
    ],
)
def test_the_published_loss_equals_the_original(golden, case, tals, training):
    given = {name.removeprefix("losses/"): values for name, values in golden.items() if name.startswith("losses/")}
    has = dict(zip(("has_global_orient", "has_body_pose", "has_betas", "true_3d"), given["has"], strict=True))
    sample = {
        "keypoints_2d": given["keypoints_2d"],
        "keypoints_3d": given["keypoints_3d"],
        "betas": given["gt_betas"],
        "global_orient": axis_angle_to_matrix(given["gt_global_orient"]),
        "body_pose": axis_angle_to_matrix(given["gt_body_pose"].view(-1, 23, 3)),
        **has,
    }
    config = replace(PUBLISHED_LOSS, compat_reference=True, tals=tals)
    terms = published_terms(
        given["pred_global_orient"][:, 0],
        given["pred_body_pose"],
        given["pred_betas"],
        given["pred_keypoints_3d"],
        given["pred_keypoints_2d"],
        sample,
        config,
        training=training,
    )
    names = ("keypoints_2d", "keypoints_3d", "orientation", "body_pose", "betas")
    values = [float(terms[name]) for name in names]
    total = sum(getattr(config, f"{name}_weight") * value for name, value in zip(names, values, strict=True))
    assert [total, *values] == pytest.approx(given["values"][case].tolist(), rel=2e-5)


def test_alignment_equals_the_original(golden):
    errors = pa_mpjpe(golden["procrustes/S1"], golden["procrustes/S2"])
    assert errors.tolist() == pytest.approx(golden["procrustes/re"].tolist(), rel=1e-4)


def test_6d_rotations_equal_the_original(golden):
    close(rot6d_to_matrix(golden["camera/geo_d6"]), golden["camera/geo_rot6d"])


def test_the_full_image_camera_equals_the_original(golden):
    centre, side = golden["camera/cam_box_center"], golden["camera/cam_box_size"][:, None]
    box = torch.cat([centre - side / 2, centre + side / 2], -1)
    for focal, name in ((float(golden["camera/cam_focal"]), "cam_full"), (5000.0, "cam_full_default5000")):
        K = torch.diag(torch.tensor([focal, focal, 1.0])).repeat(2, 1, 1)
        K[:, :2, 2] = golden["camera/cam_img_size"] / 2
        close(crop_camera_to_translation(golden["camera/pred_cam"], box, K), golden[f"camera/{name}"], 1e-5)


def test_the_goldens_are_small():
    assert FILE.stat().st_size <= 50_000
