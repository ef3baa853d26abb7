"""The reference's tokenizer: equal to its recorded outputs, read and written in its own format."""

from __future__ import annotations

import collections
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tokenizer.artifact import export_tokenizer
from tokenizer.body.model import load_body
from tokenizer.body.rotations import axis_angle_to_matrix, matrix_to_rot6d, rot6d_to_matrix
from tokenizer.config import NetworkConfig, QuantizerConfig, preset
from tokenizer.engine.errors import UserError
from tokenizer.engine.training.schedule import warmup_milestones
from tokenizer.frozen import load_tokenizer
from tokenizer.network.model import build_tokenizer
from tokenizer.network.quantizers import EmaVQ
from tokenizer.reference import KEY_TABLE, read_reference, write_reference
from tokenizer.training.losses import vertex_area_weights

FIXTURES = Path(__file__).parents[2].parent / "shared" / "reference" / "fixtures"
recorded = pytest.mark.skipif(not FIXTURES.exists(), reason="recorded outputs are not part of a clone")


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(FIXTURES / "tokenizer_tiny" / "golden.npz"))


@pytest.fixture(scope="module")
def tiny():
    return read_reference(FIXTURES / "tokenizer_tiny" / "tokenizer.pth")[0]


def close(ours, theirs, tolerance=2e-5):
    theirs = np.asarray(theirs)
    worst = np.abs(ours.detach().numpy() - theirs).max()
    assert worst <= tolerance * max(1.0, np.abs(theirs).max())


@recorded
def test_every_intermediate_equals_the_recorded_one(golden, tiny):
    rotations = axis_angle_to_matrix(torch.from_numpy(golden["in_aa"]))
    close(rotations, golden["in_rotmat"], 1e-6)
    close(matrix_to_rot6d(rotations), golden["in_6d"], 1e-6)
    latents = tiny.latents(torch.from_numpy(golden["in_rotmat"]))
    close(latents.transpose(1, 2), golden["enc_out"])
    quantized = tiny.quantizer(latents)
    assert np.array_equal(quantized.ids.numpy(), golden["code_idx"])
    assert np.array_equal(tiny.encode(rotations).flatten().numpy(), golden["encode_tokens_idx"])
    close(quantized.values.transpose(1, 2), golden["quantized"])
    close(quantized.commitment, golden["commit_loss"])
    rot6d = tiny.decoder(quantized.values)
    close(rot6d, golden["dec_6d"])
    close(rot6d_to_matrix(rot6d), golden["dec_rotmat"], 1e-4)
    probabilities = torch.from_numpy(golden["tok_logits"]).softmax(-1)
    close(tiny.decoder(probabilities @ tiny.quantizer.codebook), golden["decode_tokens_6d"])
    close(tiny.decoder(tiny.quantizer.codebook[torch.from_numpy(golden["code_idx"])]), golden["decode_tokens_hard_6d"])


@recorded
def test_losses_and_gradients_equal_the_recorded_ones(golden, tiny):
    body = load_body(FIXTURES / "body" / "smplh_neutral.npz")
    hands = np.load(FIXTURES / "body" / "smplh_neutral.npz")
    # The reference takes face areas on its rest mesh, whose hands are bent; and so is its target.
    bent = np.concatenate([hands["hands_meanl"], hands["hands_meanr"]]).astype(np.float32).reshape(30, 3)
    rest = torch.cat([torch.eye(3).expand(21, 3, 3), axis_angle_to_matrix(torch.from_numpy(bent))])
    weights = vertex_area_weights(body.vertices(rest), body.faces)
    close(weights, golden["loss_vertex_weights"])
    rotations = torch.from_numpy(golden["ds_gt_pose_body"])
    out = tiny(torch.from_numpy(golden["in_rotmat"]))
    predicted = out.rotations
    moved = body.vertices(predicted) - torch.from_numpy(golden["ds_body_vertices"])
    joints = body.joints(predicted)[:, 1:22] - torch.from_numpy(golden["ds_body_joints"])[:, 1:22]
    terms = {
        "pose": (predicted - rotations).square().mean(),
        "mesh": (moved.square() * weights[:, None]).mean(),
        "jnts": joints.square().mean(),
        "commit": out.commitment,
    }
    for name, value in terms.items():
        assert float(value.detach()) == pytest.approx(float(golden[f"train_loss_{name}"]), rel=2e-5)
    total = 20 * terms["pose"] + 100 * terms["mesh"] + 100 * terms["jnts"] + terms["commit"]
    assert float(total.detach()) == pytest.approx(float(golden["train_loss_total"]), rel=2e-5)
    tiny.zero_grad()
    total.backward()
    parameters = dict(tiny.named_parameters())
    for ours, theirs in KEY_TABLE.items():
        if ours in parameters:
            expected = golden[f"grad/{theirs}"]
            assert np.abs(parameters[ours].grad.numpy() - expected).max() <= 5e-3 * np.abs(expected).max()


@recorded
def test_four_steps_of_codebook_averaging_equal_the_recorded_ones(golden, monkeypatch):
    """The recorded run drew the first rows of the batch, for the initial codes and for dead ones."""
    quantizer = EmaVQ(160, 64, 16, decay=0.99, restart_below=1.0).train()
    monkeypatch.setattr(quantizer, "_draw", lambda flat, count, generator: flat[:count].clone())
    for step in range(4):
        latents = torch.from_numpy(golden[f"ema/{step}/x"]).transpose(1, 2)
        out = quantizer(latents)
        close(out.values.transpose(1, 2), golden[f"ema/{step}/y"])
        close(out.commitment, golden[f"ema/{step}/commit"])
        for name in ("codebook", "code_sum", "code_count"):
            close(getattr(quantizer, name), golden[f"ema/{step}/{name}"])


def full_size_file(path, **changes):
    """A file in the released format at full size, with weights from names alone and a foreign class in its settings."""
    model = build_tokenizer(preset("paper").network, preset("paper").quantizer)
    net = collections.OrderedDict()
    for ours, theirs in KEY_TABLE.items():
        shape = tuple(model.state_dict()[ours].shape)
        draw = np.random.RandomState(zlib.crc32(theirs.encode()))
        scale = np.sqrt(2.0 / np.prod(shape[1:])) if len(shape) == 3 else 0.1
        net[theirs] = torch.from_numpy((scale * draw.standard_normal(shape)).astype(np.float32))
    net.update({name: value for name, value in changes.items() if value is not None})
    for name in [name for name, value in changes.items() if value is None]:
        del net[name]
    torch.save({"net": net, "hparams": {"LR": 2e-4}}, path)


def test_full_size_file_becomes_an_ordinary_artifact_and_goes_back(tmp_path):
    full_size_file(tmp_path / "tokenizer.pth")
    model, config = read_reference(tmp_path / "tokenizer.pth")
    assert sum(p.numel() for p in model.parameters()) == 13_136_134
    rotations = axis_angle_to_matrix(0.3 * torch.randn(2, 21, 3))
    export_tokenizer(model, config, tmp_path / "tokenizer.h5")
    frozen = load_tokenizer(tmp_path / "tokenizer.h5")
    assert (frozen.num_tokens, frozen.num_codes) == (160, 2048)
    ids = frozen.encode(rotations)
    assert torch.equal(ids, model.encode(rotations))
    write_reference(frozen.tokenizer, tmp_path / "back.pth")
    theirs = torch.load(tmp_path / "tokenizer.pth", weights_only=True)["net"]
    ours = torch.load(tmp_path / "back.pth", weights_only=True)["net"]
    assert list(ours) == list(KEY_TABLE.values()) and all(torch.equal(ours[k], theirs[k]) for k in theirs)


@recorded
def test_names_and_shapes_are_those_of_the_released_file():
    lines = (FIXTURES / "state_dict_tokenizer_full.txt").read_text().splitlines()[1:]
    listed = {line.split("\t")[0]: line.split("\t")[1] for line in lines}
    state = build_tokenizer(preset("paper").network, preset("paper").quantizer).state_dict()
    assert {theirs: str(tuple(state[ours].shape)) for ours, theirs in KEY_TABLE.items()} == listed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decoder.decoder.15.bias": None}, "missing decoder.decoder.15.bias"),
        ({"encoder.more": torch.zeros(2)}, "unknown encoder.more"),
        ({"decoder.decoder.15.bias": torch.zeros(7)}, r"decoder.decoder.15.bias \(7,\), not \(6,\)"),
        ({"quantizer.codebook": None}, "no tokenizer of the reference"),
    ],
)
def test_wrong_tensors_are_named(tmp_path, changes, says):
    full_size_file(tmp_path / "t.pth", **changes)
    with pytest.raises(UserError, match=says):
        read_reference(tmp_path / "t.pth")


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_broken_and_hostile_files_get_words_and_do_not_run(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"net": Hostile(marker)}, tmp_path / "hostile.pth")
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"net": {}}, tmp_path / "empty.pth")
    for name in ("hostile", "text", "list", "empty", "absent"):
        with pytest.raises(UserError):
            read_reference(tmp_path / f"{name}.pth")
    assert not marker.exists()


def test_convolutions_refuse_other_quantizers():
    with pytest.raises(UserError, match="Convolutions need another quantizer"):
        build_tokenizer(NetworkConfig(kind="conv", width=8), QuantizerConfig())


def test_milestones_fire():
    milestones = (5 / 200, 8 / 200)
    at = [
        warmup_milestones(step / 200, 1 / 200, warmup=2 / 200, milestones=milestones, gamma=0.1)
        for step in (0, 2, 4, 5, 7, 8, 100)
    ]
    assert at == pytest.approx([1 / 3, 1, 1, 0.1, 0.1, 0.01, 0.01])
