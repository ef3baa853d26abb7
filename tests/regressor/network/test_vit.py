"""The paper's network: the ViT, the decoder of one query, the mixer head; against spelled-out versions of each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from narrow_networks import attention, lively

from regressor.checkpoints.regressor_file import load_regressor, save_regressor
from regressor.config import BackboneConfig, DecoderConfig, HeadConfig, LossConfig, RegressorConfig, preset
from regressor.losses.choice import with_loss
from regressor.losses.terms import regression_loss
from regressor.network import vit as linear
from regressor.network.model import RawPrediction, build_regressor, normalise
from regressor.network.vit import MLP, Linear, ViT
from tokenizer.body.rotations import geodesic_distance, matrix_to_rot6d, rot6d_to_matrix
from tokenizer.engine.errors import UserError
from tokenizer.engine.training.run import RunOptions


@pytest.fixture(scope="module")
def config():
    """The paper's network, 64 px and 16 wide."""
    return RegressorConfig(
        image_size=64,
        backbone=BackboneConfig(kind="vit", width=16, blocks=(2,), heads=4, drop_path=0.2),
        decoder=DecoderConfig(kind="single", dim=8, layers=2, heads=2, width=24, hidden=20),
        head=HeadConfig(logits="mixer", add_mean=True, hands=True, orientation="camera"),
        precision="fp32",
    )


@pytest.fixture
def network(config, tokenizer):
    torch.manual_seed(0)
    return build_regressor(config, tokenizer).eval()


@pytest.fixture(scope="module")
def people(annotated_people):
    return annotated_people(4, size=64)


def test_linear_layers_equal_pytorchs_with_their_gradients():
    torch.manual_seed(0)
    linear, mlp, x = Linear(12, 5), MLP(12, 30), torch.randn(3, 7, 12, requires_grad=True)
    for ours, plain in (
        (linear, lambda: F.linear(x, linear.weight, linear.bias)),
        (mlp, lambda: F.gelu(x @ mlp.inner.weight.T + mlp.inner.bias) @ mlp.outer.weight.T + mlp.outer.bias),
    ):
        wanted = [x, *ours.parameters()]
        assert torch.allclose(ours(x), plain(), atol=1e-6)
        gradients = [torch.autograd.grad(out.square().sum(), wanted) for out in (ours(x), plain())]
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*gradients))
        assert torch.equal(ours.double()(x.detach().double()), ours(x.detach().double()))


def test_vit_is_what_it_says():
    """Against the same network spelled out with other operations."""
    vit = lively(ViT(64, 16, 2, 4)).eval()
    images = torch.randn(2, 3, 64, 64)
    padded = F.pad(images[..., 8:56], (2, 2, 2, 2))
    patches = padded.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = patches @ vit.patch.weight.flatten(1).T + vit.patch.bias
    assert torch.allclose(x, vit.embed(images), atol=1e-4)
    x = x + vit.positions
    for block in vit.blocks:
        h = F.layer_norm(x, (16,), block.norm1.weight, block.norm1.bias, 1e-6)
        q, k, v = (h @ block.qkv.weight.T + block.qkv.bias).chunk(3, -1)
        x = x + attention(q, k, v, 4) @ block.out.weight.T + block.out.bias
        h = F.layer_norm(x, (16,), block.norm2.weight, block.norm2.bias, 1e-6)
        h = h @ block.mlp.inner.weight.T + block.mlp.inner.bias
        h = h * 0.5 * (1 + torch.erf(h / 2**0.5))
        x = x + h @ block.mlp.outer.weight.T + block.mlp.outer.bias
    x = F.layer_norm(x, (16,), vit.norm.weight, vit.norm.bias, 1e-6)
    features = vit(images)
    assert features.shape == (2, 16, 4, 3)
    assert torch.allclose(features, x.transpose(1, 2).reshape(2, 16, 4, 3), atol=1e-4)


def test_vit_sees_the_middle_three_quarters():
    vit = lively(ViT(64, 16, 1, 4)).eval()
    image = torch.randn(1, 3, 64, 64)
    outside, inside = image.clone(), image.clone()
    outside[..., :8] = outside[..., 56:] = 7
    inside[..., 8] = 7
    assert torch.equal(vit(outside), vit(image)) and not torch.equal(vit(inside), vit(image))


def test_crops_one_after_another_come_to_the_same():
    vit = lively(ViT(64, 16, 1, 4)).eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(vit(images), vit._features(images), atol=1e-5)
        assert vit(images[:0]).shape == (0, 16, 4, 3)


def test_recomputing_changes_nothing_and_blocks_are_left_out_in_training_alone():
    images = torch.randn(2, 3, 64, 64)
    gradients = []
    for gradient_checkpointing in (False, True):
        torch.manual_seed(1)
        vit = lively(ViT(64, 16, 2, 4, drop_path=0.5, gradient_checkpointing=gradient_checkpointing)).train()
        torch.manual_seed(2)
        vit(images).square().sum().backward()
        gradients.append([p.grad for p in vit.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-4) for a, b in zip(*gradients))
    with torch.no_grad():
        many = [vit(images) for _ in range(8)]
        assert any(not torch.equal(many[0], other) for other in many[1:])
        vit.eval()
        assert torch.equal(vit(images), vit(images))


def test_crops_alone_are_enough(network, people, tokenizer):
    with torch.no_grad():
        alone = network(normalise(people["image"]))
        placed = network(normalise(people["image"]), box=people["box"], K=people["K"])
    for name, shape in {
        "global_orient": (4, 1, 3, 3),
        "body_pose": (4, 23, 3, 3),
        "betas": (4, 10),
        "camera": (4, 3),
        "token_logits": (4, 6, 32),
    }.items():
        assert tuple(getattr(alone, name).shape) == shape
        assert torch.equal(getattr(alone, name), getattr(placed, name))
    scale, tx, ty = alone.camera.unbind(-1)
    expected = torch.stack([tx, ty, 2 * 5000 / (256 * scale)], -1)
    assert torch.allclose(alone.camera_translation(), expected, rtol=1e-5)
    assert not torch.allclose(placed.camera_translation(), expected, rtol=1e-2)


def test_mean_pose_is_added_before_orthogonalisation_and_hands_move(network, people, tokenizer):
    with torch.no_grad():
        network.network.mean_pose6d.copy_(matrix_to_rot6d(people["body_pose"][0, :21]))
        prediction = network(normalise(people["image"]))
    decoded = matrix_to_rot6d(tokenizer.decode_soft(prediction.token_logits.exp()))
    raw = tokenizer.decode_factored_rot6d([logits.softmax(-1) for logits in prediction.factor_logits])
    assert torch.allclose(matrix_to_rot6d(rot6d_to_matrix(raw)), decoded, atol=1e-5)
    expected = rot6d_to_matrix(raw + network.network.mean_pose6d)
    assert torch.allclose(prediction.body_pose[:, :21], expected, atol=1e-5)
    assert geodesic_distance(prediction.body_pose[:, 21:], torch.eye(3)).min() > 1e-4


def test_every_trained_weight_gets_a_gradient(config, tokenizer, people, open_body):
    torch.manual_seed(0)
    still = replace(config, backbone=replace(config.backbone, drop_path=0.0))
    regressor = build_regressor(still, tokenizer).train()
    prediction = regressor(normalise(people["image"]), box=people["box"], K=people["K"])
    moved = prediction.body_pose[:, 21:].square().sum() + prediction.joints(open_body).sum()
    terms = regression_loss(prediction, people, open_body, tokenizer, LossConfig())
    (torch.stack(list(terms.values())).sum() + moved).backward()
    idle = [name for name, p in regressor.network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_training_takes_the_network_as_any_other(config, tokenizer, annotated_people, open_body, tmp_path):
    from regressor.checkpoints.backbones import save_backbone
    from regressor.config import OptimConfig
    from regressor.datasets.crop_dataset import open_crops
    from regressor.datasets.crop_store import write_crops
    from regressor.training.train import train_regressor

    with write_crops(tmp_path / "crops.h5", 64, {"train": 6, "val": 2}, {"domain": "suit"}) as writer:
        for split, count in (("train", 6), ("val", 2)):
            writer.append(split, {k: v.numpy() for k, v in annotated_people(count, size=64).items()})
    pretrained = lively(ViT(64, 16, 2, 4))
    save_backbone(tmp_path / "backbone.pt", pretrained.state_dict(), config, {})
    still = replace(config, loss=preset("vit-s").loss, optim=OptimConfig(steps=2, batch=2, warmup=1, lr=0.0))
    exported = train_regressor(
        open_crops(tmp_path / "crops.h5"),
        tokenizer,
        tmp_path / "run",
        still,
        open_body,
        options=RunOptions(backbone=tmp_path / "backbone.pt"),
    )
    trained = load_regressor(exported, tokenizer=tokenizer)
    assert torch.allclose(trained.network.backbone.blocks[1].qkv.weight, pretrained.blocks[1].qkv.weight, atol=1e-6)
    # It began at the mean orientation in camera axes: upright, that is upside down in them.
    assert rot6d_to_matrix(trained.network.mean_orientation6d)[1, 1] < -0.5


def test_loaded_weights_are_those_of_the_file_and_bf16_holds_half(network, config, tokenizer, people, tmp_path):
    lively(network.network.backbone)
    path = save_regressor(tmp_path / "r.pt", network.network, config, tokenizer, {})
    loaded, half = (load_regressor(path, tokenizer=tokenizer, precision=p) for p in ("fp32", "bf16"))
    images = normalise(people["image"])
    with torch.no_grad():
        assert torch.equal(loaded(images).body_pose, network(images).body_pose)
        turned = geodesic_distance(half(images).body_pose, network(images).body_pose).rad2deg().max()
    assert turned < 1
    assert half.network.backbone.blocks[0].qkv.weight.dtype == torch.bfloat16
    assert half.network.orientation.weight.dtype == loaded.network.backbone.patch.weight.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in loaded.network.parameters())


@pytest.mark.parametrize(
    ("name", "width", "blocks"), [("vit-s", 384, 12), ("vit-b", 768, 12), ("vit-l", 1024, 24), ("vit-h", 1280, 32)]
)
def test_presets_have_the_sizes_of_vitpose(name, width, blocks, tokenizer):
    backbone = build_regressor(preset(name), tokenizer, empty=True).network.backbone
    assert all(p.is_meta for p in backbone.parameters())
    weights = sum(p.numel() for p in backbone.parameters())
    assert weights == blocks * (12 * width + 13) * width + (768 + 1 + 192 + 2) * width
    # The published count of ViT-H, whose class token's position is added to the others here.
    assert name != "vit-h" or weights == 630_912_000 - 1280
    assert backbone.positions.shape[0] == 192


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_size": 96}, "multiple of 64"),
        ({"backbone": BackboneConfig(kind="vit", width=16, blocks=(2,), heads=5)}, "heads that divide"),
        ({"backbone": BackboneConfig(kind="vit", width=16, blocks=(2, 2), heads=4)}, "one number of blocks"),
        ({"decoder": DecoderConfig(kind="single", dim=8, heads=3)}, "heads do not divide"),
        ({"decoder": DecoderConfig()}, "decoder.kind=single"),
    ],
)
def test_parts_that_do_not_fit_are_refused(config, tokenizer, change, says):
    with pytest.raises(UserError, match=says):
        build_regressor(replace(config, **change), tokenizer)


def test_crops_that_do_not_fit_are_refused(network, people, regressor, sample):
    with pytest.raises(UserError, match=r"\(B, 3, 64, 64\)"):
        network(torch.zeros(2, 3, 32, 32))
    with pytest.raises(UserError, match="box and K, both"):
        network(normalise(people["image"]), box=people["box"])
    with pytest.raises(UserError, match="where the crops are"):
        regressor(normalise(sample["image"]))


def one_hot_logits(tokenizer, pose):
    """Sure logits of the tokens that the cross-entropy asks for in ``pose`` (B,21,3,3)."""
    digits = tokenizer.split_ids(tokenizer.encode(pose))
    return [60.0 * F.one_hot(one, level).float() for one, level in zip(digits, tokenizer.levels, strict=True)]


def test_the_tokens_that_cross_entropy_asks_for_are_as_good_as_the_tokenizer(config, tokenizer, people):
    """With ``--loss means`` the paper's network added the mean pose after them: 7.2 mm at best became 25.6 mm."""
    pose = people["body_pose"][:, :21]
    best = tokenizer.decode(tokenizer.encode(pose))
    turned = {}
    for name, variant in (("means", with_loss(config, form="means")), ("added", config)):
        regressor = build_regressor(variant, tokenizer).eval()
        regressor.network.mean_pose6d.copy_(matrix_to_rot6d(pose).mean(0))
        logits = one_hot_logits(tokenizer, pose)
        regressor.network.forward = lambda *_, logits=logits: RawPrediction(
            torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(4, 6), torch.zeros(4, 10), torch.ones(4, 3), logits, None
        )
        with torch.no_grad():
            predicted = regressor(torch.zeros(4, 3, 64, 64)).body_pose[:, :21]
        turned[name] = float(geodesic_distance(predicted, best).max())
    assert turned["means"] < 1e-3 < 0.05 < turned["added"]


def test_a_mean_pose_and_a_cross_entropy_of_tokens_are_refused(config, tokenizer, crops_file, open_body, tmp_path):
    from regressor.datasets.crop_dataset import open_crops
    from regressor.training.train import train_regressor

    assert not with_loss(preset("vit-s"), form="means").head.add_mean and preset("vit-s").head.add_mean
    assert with_loss(preset("vit-s"), form="published").head.add_mean
    both = replace(config, image_size=32, loss=LossConfig(token_weight=0.1))
    with pytest.raises(UserError, match=r"adds the mean pose.*head.add_mean=false, or loss.token_weight=0"):
        train_regressor(open_crops(crops_file), tokenizer, tmp_path / "run", both, open_body)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("instructions", "wanted"), [("AVX512", True), ("AVX512_VNNI", True), ("AVX2", False)])
def test_onednn_is_asked_by_name_where_it_gains(monkeypatch, instructions, wanted):
    """Either way the layers compute the same."""
    monkeypatch.setattr(linear, "instruction_set", lambda: instructions)
    torch.manual_seed(0)
    layer, mlp, x = linear.Linear(6, 5), linear.MLP(6, 8), torch.randn(3, 6)
    assert linear.wants_onednn(x, layer.weight) is (wanted and torch.backends.mkldnn.is_available())
    with torch.no_grad():
        assert torch.allclose(layer(x), x @ layer.weight.T + layer.bias, atol=1e-5)
        inner = torch.nn.functional.gelu(x @ mlp.inner.weight.T + mlp.inner.bias)
        assert torch.allclose(mlp(x), inner @ mlp.outer.weight.T + mlp.outer.bias, atol=1e-5)
