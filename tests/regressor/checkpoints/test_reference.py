"""The released regressor: equal to its recorded outputs, read from its own format; backbones of ViTPose and HMR2.0."""

from __future__ import annotations

import collections
import json
import os
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from regressor import load_regressor
from regressor.checkpoints.backbones import read_backbone, start_from_backbone
from regressor.checkpoints.reference import read_reference
from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.config import preset
from regressor.geometry.camera import project_to_crop
from regressor.network.model import build_regressor
from tokenizer import load_body, load_tokenizer
from tokenizer.artifact import export_tokenizer
from tokenizer.body.rotations import geodesic_distance, rot6d_to_matrix
from tokenizer.config import NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.errors import UserError
from tokenizer.network.model import build_tokenizer
from tokenizer.reference import read_reference as read_tokenizer

FIXTURES = Path(__file__).parents[3].parent / "shared" / "reference" / "fixtures"
TINY = FIXTURES / "regressor_tiny"
recorded = pytest.mark.skipif(not FIXTURES.exists(), reason="recorded outputs are not part of a clone")
HEADS = ("backbone.heads=4",)


def close(ours, theirs, tolerance=2e-5):
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours.detach().numpy() - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())


def narrow(codes):
    """The paper's tokenizer, 8 wide."""
    quantizer = QuantizerConfig(kind="ema_vq", num_tokens=160, num_codes=codes, dim=4)
    return TokenizerConfig(network=NetworkConfig(kind="conv", width=8), quantizer=quantizer)


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(TINY / "golden.npz"))


@pytest.fixture(scope="module")
def tiny_tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tokenizer.h5"
    export_tokenizer(*read_tokenizer(FIXTURES / "tokenizer_tiny" / "tokenizer.pth"), path)
    return path


@recorded
@pytest.mark.parametrize("flavour", ["small", "omegaconf"])
def test_every_intermediate_equals_the_recorded_one(golden, tiny_tokenizer, tmp_path, flavour):
    out = tmp_path / "regressor.pt"
    done = CliRunner().invoke(
        main,
        [
            "import-reference",
            str(TINY / f"tokenhmr_model_{flavour}.ckpt"),
            "--tokenizer",
            str(tiny_tokenizer),
            "--mean-params",
            str(FIXTURES / "body" / "smpl_mean_params.npz"),
            "--out",
            str(out),
            "--set",
            *HEADS,
        ],
    )
    assert done.exit_code == 0, done.output
    assert "4 heads" in done.output
    regressor = load_regressor(out, tokenizer=tiny_tokenizer)
    assert not [name for name in regressor.state_dict() if "smpl" in name]
    images = torch.from_numpy(golden["img"])
    seen = collections.defaultdict(list)

    def note(module, name):
        module.register_forward_hook(lambda _, inputs, output: seen[name].append(output))

    network = regressor.network
    note(network.backbone.blocks[0], "block0")
    note(network.backbone, "backbone_feat")
    note(network.pose_head.leave_norm, "cls_feat")
    note(network.decoder, "token_out")
    with torch.no_grad():
        prediction = regressor(images)
        close(network.backbone.embed(images), golden["patch_embed"])
    # A ViT on a CPU looks at one crop after another.
    close(torch.cat(seen["block0"]), golden["block0"])
    close(torch.cat(seen["backbone_feat"]), golden["backbone_feat"])
    close(seen["token_out"][0].readout[:, None], golden["token_out"])
    close(F.relu(seen["cls_feat"][0]), golden["cls_feat"])
    close(prediction.factor_logits[0], golden["cls_logits"])
    close(prediction.token_logits.exp(), golden["cls_logits_softmax"])
    decoded = regressor.tokenizer.decode_factored_rot6d([prediction.factor_logits[0].softmax(-1)])
    close(decoded.flatten(1), golden["token_pose_6d"])
    close(prediction.camera, golden["pred_cam"])
    for name in ("global_orient", "body_pose", "betas"):
        close(getattr(prediction, name), golden[f"pred_smpl_params/{name}"])
    close(prediction.camera_translation(), golden["pred_cam_t"], 1e-5)

    extra = tmp_path / "j19.npz"
    np.savez(extra, regressor=np.load(FIXTURES / "body" / "smpl_to_j19.npz")["regressor"])
    body = load_body(FIXTURES / "body" / "smpl.npz", extra_regressor=extra)
    close(prediction.vertices(body), golden["pred_vertices"], 5e-5)
    keypoints = prediction.keypoints(body)
    close(keypoints, golden["pred_keypoints_3d"], 5e-5)
    placed = keypoints + prediction.camera_translation()[:, None]
    close(project_to_crop(placed, prediction.box, prediction.K), golden["pred_keypoints_2d"], 5e-5)


@recorded
def test_bf16_turns_no_joint_by_a_degree(golden, tiny_tokenizer, tmp_path):
    frozen = load_tokenizer(tiny_tokenizer)
    exact = read_reference(TINY / "tokenhmr_model_small.ckpt", frozen, assignments=HEADS)
    save_regressor(tmp_path / "r.pt", exact.network, exact.config, frozen, {})
    half = load_regressor(tmp_path / "r.pt", tokenizer=frozen, precision="bf16")
    with torch.no_grad():
        one, other = (regressor(torch.from_numpy(golden["img"])) for regressor in (exact, half))
    for name in ("global_orient", "body_pose"):
        turned = geodesic_distance(getattr(one, name), getattr(other, name)).rad2deg()
        assert 0 < turned.max() < 1


@recorded
def test_full_image_camera_and_6d_equal_the_recorded_ones(golden, tiny_tokenizer):
    checkpoint = TINY / "tokenhmr_model_small.ckpt"
    regressor = read_reference(checkpoint, load_tokenizer(tiny_tokenizer), assignments=HEADS)
    centre, side = torch.from_numpy(golden["cam_box_center"]), torch.from_numpy(golden["cam_box_size"])[:, None]
    box = torch.cat([centre - side / 2, centre + side / 2], -1)
    middle = torch.from_numpy(golden["cam_img_size"]) / 2
    for focal, name in ((float(golden["cam_focal"]), "cam_full"), (5000.0, "cam_full_default5000")):
        intrinsics = torch.diag(torch.tensor([focal, focal, 1.0])).repeat(2, 1, 1)
        intrinsics[:, :2, 2] = middle
        with torch.no_grad():
            prediction = regressor(torch.from_numpy(golden["img"]), box=box, K=intrinsics)
        close(prediction.camera_translation(), golden[name], 1e-5)
    close(rot6d_to_matrix(torch.from_numpy(golden["geo_d6"])), golden["geo_rot6d"])


@recorded
def test_names_and_shapes_are_those_of_the_released_file(tmp_path):
    """A file without contents, of the released model's 574 names and shapes, is taken as ``vit-h``."""
    lines = (FIXTURES / "state_dict_regressor_full.txt").read_text().splitlines()[1:]
    tensors = {}
    for line in lines:
        name, shape, *_ = line.split("\t")
        sizes = [int(size) for size in shape.strip("()").split(",") if size.strip()]
        # One number, seen from everywhere: 2.7 GB of weights in a file of a few kilobytes.
        tensors[name] = torch.zeros(()).expand(sizes)
    torch.save({"state_dict": tensors}, tmp_path / "full.ckpt")
    config = narrow(2048)
    export_tokenizer(build_tokenizer(config.network, config.quantizer), config, tmp_path / "t.h5")
    regressor = read_reference(tmp_path / "full.ckpt", load_tokenizer(tmp_path / "t.h5"))
    wanted = preset("vit-h")
    assert replace(regressor.config, preset="vit-h") == wanted
    # Not kept: queries and keys of the self-attention of one query, what multiplies a zero, sums of two offsets.
    unused = 6 * 2 * 512 * 1024 + 1024 + 1024 + 1280
    assert sum(p.numel() for p in regressor.network.parameters()) == 681_199_967 - unused


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A hardly built tokenizer of 160 tokens × 8 codes, as the paper's but narrow."""
    path = tmp_path_factory.mktemp("narrow") / "tokenizer.h5"
    config = narrow(8)
    export_tokenizer(build_tokenizer(config.network, config.quantizer), config, path)
    return path


def released(changes=None, *, width=8, blocks=1, layers=1, query=12, inner=6, hidden=5, codes=8):
    """Tensors as a released file names them, drawn at random, and so narrow that a test can hold them."""
    shapes = {
        "pos_embed": (1, 193, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
        "last_norm.weight": (width,),
        "last_norm.bias": (width,),
    }

    def linear(name, outputs, inputs, bias=True):
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name, size):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

    for i in range(blocks):
        norm(f"blocks.{i}.norm1", width)
        linear(f"blocks.{i}.attn.qkv", 3 * width, width)
        linear(f"blocks.{i}.attn.proj", width, width)
        norm(f"blocks.{i}.norm2", width)
        linear(f"blocks.{i}.mlp.fc1", 4 * width, width)
        linear(f"blocks.{i}.mlp.fc2", width, 4 * width)
    backbone, shapes = shapes, {}
    for i in range(layers):
        layer = f"transformer.transformer.layers.{i}"
        for part in range(3):
            norm(f"{layer}.{part}.norm", query)
        linear(f"{layer}.0.fn.to_qkv", 3 * inner, query, bias=False)
        linear(f"{layer}.1.fn.to_kv", 2 * inner, width, bias=False)
        linear(f"{layer}.1.fn.to_q", inner, query, bias=False)
        for part in range(2):
            linear(f"{layer}.{part}.fn.to_out.0", query, inner)
        linear(f"{layer}.2.fn.net.0", hidden, query)
        linear(f"{layer}.2.fn.net.3", query, hidden)
    shapes["transformer.pos_embedding"] = (1, 1, query)
    linear("transformer.to_token_embedding", query, 1)
    for name, outputs in (("grot", 6), ("hands", 12)):
        linear(f"decpose_{name}", outputs, query)
    linear("decshape", 10, query)
    linear("deccam", 3, query)
    linear("decpose.mixer_trans.ff.0", 160 * 64, query)
    norm("decpose.mixer_trans.ff.1", 160 * 64)
    for i in range(4):
        mixer = f"decpose.mixer_head.{i}"
        norm(f"{mixer}.layernorm1", 64)
        linear(f"{mixer}.MLP_token.ff.0", 64, 160)
        linear(f"{mixer}.MLP_token.ff.3", 160, 64)
        norm(f"{mixer}.layernorm2", 64)
        linear(f"{mixer}.MLP_channel.ff.0", 256, 64)
        linear(f"{mixer}.MLP_channel.ff.3", 64, 256)
    linear("decpose.mixer_norm_layer.ff.0", 64, 64)
    norm("decpose.mixer_norm_layer.ff.1", 64)
    linear("decpose.class_pred_layer", codes, 64)
    shapes |= {"init_body_pose": (1, 144), "init_betas": (1, 10), "init_cam": (1, 3)}
    everything = {f"backbone.{k}": v for k, v in backbone.items()} | {f"smpl_head.{k}": v for k, v in shapes.items()}
    draw = torch.Generator().manual_seed(0)
    tensors = {name: 0.3 * torch.randn(shape, generator=draw) for name, shape in everything.items()}
    tensors |= {"initialized": torch.tensor(True), "smpl.v_template": torch.randn(6890, 3)} | (changes or {})
    return collections.OrderedDict((name, value) for name, value in tensors.items() if value is not None)


def write(path, tensors, **more):
    torch.save({"epoch": 3, "global_step": 77, "state_dict": tensors, **more}, path)
    return path


def settings(heads):
    return {"cfg": {"MODEL": {"SMPL_HEAD": {"TRANSFORMER_DECODER": {"heads": heads}}}}}


NARROW = ("backbone.heads=2",)


def test_imported_weights_go_where_they_belong(vocabulary, tmp_path):
    tensors = released()
    path = write(tmp_path / "r.ckpt", tensors, hyper_parameters=settings(3))
    regressor = read_reference(path, load_tokenizer(vocabulary), assignments=NARROW)
    assert regressor.config.decoder.heads == 3 and regressor.config.backbone.heads == 2
    assert regressor.provenance["global_step"] == 77 and regressor.provenance["body"] == "smpl"
    network = regressor.network
    head = {name.removeprefix("smpl_head."): value for name, value in tensors.items()}
    positions = tensors["backbone.pos_embed"]
    assert torch.equal(network.backbone.positions, positions[0, 1:] + positions[0, 0])
    expected = head["transformer.to_token_embedding.bias"] + head["transformer.pos_embedding"][0, 0]
    assert torch.equal(network.decoder.query, expected)
    layer, prefix = network.decoder.layers[0], "transformer.transformer.layers.0"
    assert torch.equal(layer.self_value.weight, head[f"{prefix}.0.fn.to_qkv.weight"][12:])
    assert torch.equal(layer.cross.value.flatten(0, 1), head[f"{prefix}.1.fn.to_kv.weight"][6:])
    assert torch.equal(network.mean_hands6d.flatten(), head["init_body_pose"][0, 132:])
    # And into a file of our own, in which no tensor drags along more than itself.
    out = save_regressor(tmp_path / "r.pt", network, regressor.config, regressor.tokenizer, regressor.provenance)
    numbers = sum(value.numel() for value in network.state_dict().values())
    assert 4 * numbers < out.stat().st_size < 4 * numbers + 100_000
    images = torch.randn(2, 3, 256, 256)
    with torch.no_grad():
        again = load_regressor(out, tokenizer=vocabulary)(images)
        assert torch.equal(again.body_pose, regressor(images).body_pose)


@pytest.mark.parametrize("name", ["yacs.config.CfgNode", "omegaconf.dictconfig.DictConfig"])
def test_settings_of_libraries_that_are_not_here_are_read(vocabulary, tmp_path, monkeypatch, name):
    module, cls = name.rsplit(".", 1)
    yacs = cls == "CfgNode"
    kind = type(cls, (dict,) if yacs else (), {"__module__": module, "__qualname__": cls})
    for depth in range(1, len(module.split(".")) + 1):
        stub = types.ModuleType(".".join(module.split(".")[:depth]))
        setattr(stub, cls, kind)
        monkeypatch.setitem(sys.modules, stub.__name__, stub)
    cfg = kind()
    if yacs:
        cfg.update(settings(3)["cfg"])
    else:
        cfg.__dict__["_content"] = settings(3)["cfg"]
    path = write(tmp_path / "r.ckpt", released(), hyper_parameters={"cfg": cfg})
    monkeypatch.undo()
    assert read_reference(path, load_tokenizer(vocabulary), assignments=NARROW).config.decoder.heads == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"backbone.last_norm.bias": None, "smpl_head.deccam.bias": None},
            "missing backbone.last_norm.bias; missing smpl_head.deccam.bias",
        ),
        ({"discriminator.x": torch.zeros(2)}, "unknown discriminator.x"),
        ({"smpl_head.decshape.bias": torch.zeros(7)}, r"smpl_head.decshape.bias \(7,\), not \(10,\)"),
        ({"smpl_head.decshape.bias": torch.full((10,), torch.nan)}, "decshape.bias with numbers that are not finite"),
        ({"smpl_head.decshape.bias": torch.zeros(10, dtype=torch.int32)}, "decshape.bias of torch.int32"),
        ({"smpl_head.transformer.to_token_embedding.weight": None}, "missing smpl_head.transformer.to_token_embedding"),
        ({"backbone.blocks.7.norm1.bias": torch.zeros(8)}, "unknown backbone.blocks.7.norm1.bias"),
        ({"backbone.pos_embed": torch.zeros(1, 200, 8)}, "199 patches"),
        ({"backbone.pos_embed": torch.zeros(1)}, "no regressor of the reference"),
        ({"backbone.patch_embed.proj.weight": torch.zeros(0, 3, 16, 16)}, "no regressor of the reference"),
        ({"smpl_head.decpose.class_pred_layer.bias": torch.zeros(9)}, "The tokenizer does not fit"),
    ],
)
def test_wrong_tensors_are_named(vocabulary, tmp_path, changes, says):
    path = write(tmp_path / "r.ckpt", released(changes), hyper_parameters=settings(3))
    with pytest.raises(UserError, match=says):
        read_reference(path, load_tokenizer(vocabulary), assignments=NARROW)


def test_what_a_file_cannot_tell_is_asked_for(vocabulary, tokenizer, tmp_path):
    path = write(tmp_path / "r.ckpt", released(), hyper_parameters=settings(3))
    with pytest.raises(UserError, match=r"--set backbone\.heads=N"):
        read_reference(path, load_tokenizer(vocabulary))
    with pytest.raises(UserError, match=r"got a tokenizer of 6 tokens × 32 codes.*expected 160 tokens × 8 codes"):
        read_reference(path, tokenizer, assignments=NARROW)


def test_mean_parameters_fill_in_or_agree(vocabulary, tmp_path):
    tensors = released()
    names = {"pose": "init_body_pose", "shape": "init_betas", "cam": "init_cam"}
    means = {ours: tensors[f"smpl_head.{theirs}"][0].numpy() for ours, theirs in names.items()}
    np.savez(tmp_path / "mean.npz", **means)
    np.savez(tmp_path / "other.npz", **means | {"cam": means["cam"] + 1})
    np.savez(tmp_path / "short.npz", **means | {"pose": means["pose"][:72]})
    without = {f"smpl_head.{name}": None for name in ("init_body_pose", "init_betas", "init_cam")}
    full = write(tmp_path / "full.ckpt", tensors, hyper_parameters=settings(3))
    bare = write(tmp_path / "bare.ckpt", released(without), hyper_parameters=settings(3))
    frozen = load_tokenizer(vocabulary)
    with pytest.raises(UserError, match=r"missing smpl_head\.init_betas"):
        read_reference(bare, frozen, assignments=NARROW)
    filled = read_reference(bare, frozen, mean_params=tmp_path / "mean.npz", assignments=NARROW)
    agreed = read_reference(full, frozen, mean_params=tmp_path / "mean.npz", assignments=NARROW)
    assert torch.equal(filled.network.mean_pose6d, agreed.network.mean_pose6d)
    with pytest.raises(UserError, match="not those of the checkpoint; got another smpl_head"):
        read_reference(full, frozen, mean_params=tmp_path / "other.npz", assignments=NARROW)
    with pytest.raises(UserError, match="144 numbers named pose"):
        read_reference(full, frozen, mean_params=tmp_path / "short.npz", assignments=NARROW)


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_broken_and_hostile_files_get_words_and_do_not_run(vocabulary, tmp_path):
    marker = tmp_path / "ran"
    whole = write(tmp_path / "whole.ckpt", released()).read_bytes()
    write(tmp_path / "hostile.ckpt", released(), hyper_parameters=Hostile(marker))
    (tmp_path / "short.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.ckpt")
    write(tmp_path / "empty.ckpt", {})
    for name in ("hostile", "short", "text", "list", "empty", "absent"):
        out = tmp_path / "out.pt"
        done = CliRunner().invoke(
            main,
            [
                "import-reference",
                str(tmp_path / f"{name}.ckpt"),
                "--tokenizer",
                str(vocabulary),
                "--out",
                str(out),
            ],
        )
        assert done.exit_code == 2 and "error:" in done.output, (name, done.output)
        assert not out.exists()
    assert not marker.exists()


def vitpose(width=8, blocks=1, patches=192):
    tensors = {
        name.removeprefix("backbone."): value
        for name, value in released(width=width, blocks=blocks).items()
        if name.startswith("backbone.")
    }
    rows = torch.linspace(-1, 1, round((patches * 4 / 3) ** 0.5))
    columns = patches // len(rows)
    tensors["pos_embed"] = torch.cat([torch.zeros(1), rows.repeat_interleave(columns)])[None, :, None].repeat(
        1, 1, width
    )
    return tensors


SMALL = ("backbone.width=8", "backbone.blocks=[1]", "backbone.heads=2")


def small_options(*more):
    return [word for assignment in (*SMALL, *more) for word in ("--set", assignment)]


@pytest.mark.parametrize("form", ["vitpose", "hmr2", "bare"])
def test_backbones_come_from_any_of_their_files(tokenizer, tmp_path, form):
    tensors = vitpose()
    prefixed = {f"backbone.{name}": value for name, value in tensors.items()}
    if form == "vitpose":
        content = {"meta": {}, "state_dict": {**prefixed, "keypoint_head.final.weight": torch.zeros(3)}}
    elif form == "hmr2":
        content = {"state_dict": {**prefixed, "smpl_head.x": torch.zeros(1), "discriminator.y": torch.zeros(1)}}
    else:
        content = tensors
    torch.save(content, tmp_path / "b.pth")
    out = tmp_path / "backbone.pt"
    done = CliRunner().invoke(
        main, ["import-backbone", str(tmp_path / "b.pth"), "--preset", "vit-s", "--out", str(out), *small_options()]
    )
    assert done.exit_code == 0, done.output
    config = preset("vit-s")
    config = replace(config, backbone=replace(config.backbone, width=8, blocks=(1,), heads=2))
    network = build_regressor(config, tokenizer).network
    start_from_backbone(network, out)
    assert torch.equal(network.backbone.blocks[0].qkv.weight, tensors["blocks.0.attn.qkv.weight"])
    assert torch.equal(network.backbone.positions, tensors["pos_embed"][0, 1:] + tensors["pos_embed"][0, :1])
    other = build_regressor(replace(config, backbone=replace(config.backbone, heads=4)), tokenizer).network
    with pytest.raises(UserError, match="got 2 heads; expected 4 heads"):
        start_from_backbone(other, out)
    (tmp_path / "json.pt").write_text(json.dumps({}))
    with pytest.raises(UserError, match="Cannot read backbone"):
        start_from_backbone(network, tmp_path / "json.pt")


@pytest.mark.parametrize("patches", [196, 432])
def test_positions_are_resized_when_asked_and_only_then(tmp_path, patches):
    config = preset("vit-s")
    config = replace(config, backbone=replace(config.backbone, width=8, blocks=(1,), heads=2))
    tensors = vitpose(patches=192)
    side = {196: 14, 432: 24}[patches]
    ramp = torch.linspace(-1, 1, side).repeat_interleave(patches // side)
    tensors["pos_embed"] = torch.cat([torch.tensor([0.5]), ramp])[None, :, None].repeat(1, 1, 8)
    torch.save({"state_dict": tensors}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=rf"pos_embed \(1, {patches + 1}, 8\), not \(1, 193, 8\)"):
        read_backbone(tmp_path / "b.pth", config)
    positions = read_backbone(tmp_path / "b.pth", config, resize_positions=True)["positions"].view(16, 12, 8)
    # Rows stay rows: the ramp runs down, is level across, and keeps its middle.
    assert torch.allclose(positions, positions[:, :1].expand_as(positions), atol=1e-5)
    assert (positions[1:, 0, 0] > positions[:-1, 0, 0]).all()
    assert positions.mean().item() == pytest.approx(0.5, abs=1e-3)


def test_backbones_that_do_not_fit_are_refused(tmp_path):
    tensors = vitpose()
    tensors["blocks.0.mlp.experts.0.weight"] = torch.zeros(2)
    torch.save({"state_dict": tensors}, tmp_path / "b.pth")
    config = preset("vit-s")
    config = replace(config, backbone=replace(config.backbone, width=8, blocks=(1,), heads=2))
    with pytest.raises(UserError, match="experts that do not fit"):
        read_backbone(tmp_path / "b.pth", config)
    tensors["blocks.0.mlp.other.weight"] = tensors.pop("blocks.0.mlp.experts.0.weight")
    torch.save({"state_dict": tensors}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"unknown blocks\.0\.mlp\.other\.weight"):
        read_backbone(tmp_path / "b.pth", config)
    with pytest.raises(UserError, match="no ViT to import into"):
        read_backbone(tmp_path / "b.pth", preset("small"))
    tensors["pos_embed"] = torch.zeros(1, 18, 8)
    torch.save({"state_dict": tensors}, tmp_path / "b.pth")
    with pytest.raises(UserError, match="no known grid"):
        read_backbone(tmp_path / "b.pth", config, resize_positions=True)
