"""One rule for what a ViT sees of a box, the published one, at evaluation and prediction; 220 × 260 px give 293.33."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.config import BackboneConfig, DecoderConfig, HeadConfig
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.shard_file import content_digest
from regressor.geometry.camera import prediction_box
from regressor.network.model import build_regressor
from regressor.training import finetune, panels, validation
from tokenizer.engine.files.hdf5 import plain_datasets

FIXTURES = Path(__file__).parents[3].parent / "shared" / "reference" / "fixtures" / "data"
CENTRE = (310.0, 245.0)


def evaluation_npz(folder, sizes):
    """An evaluation npz of one picture a box of these sizes, px: gradients, red to the right and green downwards."""
    x, y = np.meshgrid(np.arange(640) / 640 * 255, np.arange(480) / 480 * 255)
    cv2.imwrite(str(folder / "image.png"), np.stack([np.full_like(x, 60), y, x], -1).astype(np.uint8))
    count = len(sizes)
    np.savez(
        folder / "eval.npz",
        imgname=["image.png"] * count,
        center=np.tile(CENTRE, (count, 1)),
        scale=np.array(sizes),
        body_pose=np.zeros((count, 72)),
        betas=np.zeros((count, 10)),
        body_keypoints_2d=np.tile([[200.0, 145.0, 1.0]], (count, 25, 1)),
    )
    return folder / "eval.npz"


def prepared(source, out, **options):
    prepare_shards("evaluation-npz", [source], out, ReadOptions(split="test"), StoreOptions(**options), workers=1)
    return open_crops(out)


@pytest.mark.parametrize(
    ("size", "side"), [((220.0, 260.0), 293.3333), ((100.0, 260.0), 260.0), ((260.0, 260.0), 346.6667)]
)
def test_boxes_are_widened_to_what_a_vit_sees(size, side):
    centre, half = torch.tensor(CENTRE), torch.tensor(size) / 2
    box = prediction_box(torch.cat([centre - half, centre + half]), 0.75)
    assert float(box[2] - box[0]) == float(box[3] - box[1]) == pytest.approx(side, abs=1e-3)
    assert torch.allclose((box[:2] + box[2:]) / 2, centre)


@pytest.mark.parametrize("margin", [1.0, 1.5])
def test_shards_give_the_published_crops(tmp_path, margin):
    """Also scalar boxes, 1.33 times as large; a small margin is enlarged until it suffices."""
    store = prepared(evaluation_npz(tmp_path, [[220.0, 260], [260, 260]]), tmp_path / "out", margin=margin)
    squares = store.at_size(128).sample(np.arange(2), "test")
    assert (squares["box"][:, 2] - squares["box"][:, 0]).tolist() == [260, 260]
    wide = store.as_predicted(0.75).at_size(128).only("test").sample(np.arange(2), "test")
    side = (wide["box"][:, 2] - wide["box"][:, 0]).numpy()
    np.testing.assert_allclose(side, [293.3333, 346.6667], atol=1e-3)
    np.testing.assert_allclose(wide["keypoints_2d"][:, 0, 0].numpy(), (200 - CENTRE[0]) / side, atol=1e-5)
    for row in range(2):
        low = wide["box"][row, 0].item()
        middles = low + (np.arange(128) + 0.5) * side[row] / 128
        red = wide["image"][row, 0].float().mean(0).numpy()
        assert np.abs(red - middles / 640 * 255).max() < 2.5, "pixels, and no edge that goes on"
    assert store.as_predicted(1.0) is store


def test_shards_of_earlier_versions_open_and_keep_their_squares(tmp_path):
    store = prepared(evaluation_npz(tmp_path, [[220.0, 260]]), tmp_path / "out")
    index = tmp_path / "out" / "shards.json"
    content = json.loads(index.read_text())
    del content["attributes"]["box_shapes"]
    with h5py.File(next((tmp_path / "out").glob("*.h5")), "r+") as file:
        del file["extent"]
        file.attrs["digest"] = content["shards"][0]["digest"] = content_digest(plain_datasets(file))
    index.write_text(json.dumps(content))
    store = open_crops(tmp_path / "out")
    assert store.as_predicted(0.75) is store
    box = store.sample(np.arange(1), "test")["box"][0]
    assert float(box[2] - box[0]) == 260


@pytest.fixture
def vit_file(tmp_path, tiny_config, tokenizer):
    config = replace(
        tiny_config,
        image_size=64,
        backbone=BackboneConfig(kind="vit", width=16, blocks=(1,), heads=4),
        decoder=DecoderConfig(kind="single", dim=8, layers=1, heads=2, width=16, hidden=16),
        head=HeadConfig(logits="mixer", add_mean=True, hands=True, orientation="camera"),
    )
    torch.manual_seed(0)
    network = build_regressor(config, tokenizer).network
    return save_regressor(tmp_path / "vit.pt", network, config, tokenizer, {"body": "open"})


def test_evaluate_and_predict_look_at_the_same_crop(tmp_path, vit_file, tokenizer_file, monkeypatch):
    from regressor.network.model import Regressor

    seen = []
    plain = Regressor.forward
    monkeypatch.setattr(
        Regressor,
        "forward",
        lambda self, images, *, box=None, **given: (seen.append((images, box)), plain(self, images, box=box, **given))[
            1
        ],
    )
    prepared(evaluation_npz(tmp_path, [[220.0, 260]]), tmp_path / "out", quality=100, pixels=1000)
    common = ["--tokenizer", str(tokenizer_file), "--device", "cpu"]
    done = CliRunner().invoke(
        main,
        [
            "evaluate",
            str(vit_file),
            str(tmp_path / "out"),
            "--protocol",
            "2d",
            *common,
            "--json",
            str(tmp_path / "e.json"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "e.json").read_text())["boxes"].endswith("widened to 192:256, as published")
    given = "200,115,420,375"
    done = CliRunner().invoke(
        main,
        [
            "predict",
            str(tmp_path / "image.png"),
            "--box",
            given,
            "--regressor",
            str(vit_file),
            "--out",
            str(tmp_path / "people"),
            *common,
        ],
    )
    assert done.exit_code == 0, done.output
    (evaluated, box), (predicted, other) = seen
    assert float(box[0, 2] - box[0, 0]) == pytest.approx(293.3333, abs=1e-3)
    torch.testing.assert_close(box, other)
    assert float((evaluated - predicted).abs().max()) < 0.1, "normalised by 58 grey levels"


def test_trainings_validate_on_the_crops_of_prediction(tmp_path, vit_file, tokenizer, open_body, monkeypatch):
    """Validation, its pictures, fine-tuning's figures before and after: boxes of 260 px and their margin give 416."""
    sides = []

    def noted(function):
        def call(regressor, samples, *arguments, **options):
            sides.append((function.__name__, samples["box"][:, 2] - samples["box"][:, 0]))
            return function(regressor, samples, *arguments, **options)

        return call

    monkeypatch.setattr(validation, "score_predictions", noted(validation.score_predictions))
    monkeypatch.setattr(finetune, "score_predictions", noted(finetune.score_predictions))
    monkeypatch.setattr(panels, "draw_panels", noted(panels.draw_panels))
    images, annotations = [], []
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full((480, 640, 3), 40 * i, np.uint8))
        images.append({"id": i, "file_name": f"{i}.jpg"})
        annotations.append({"image_id": i, "bbox": [180, 115, 260, 260], "keypoints": [300, 200, 2] * 17})
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    photographs = finetune.Photographs((tmp_path / "coco.json",))
    assignments = ("pictures=1", "precision=fp32", "data.workers=0")
    options = finetune.FinetuneOptions(tals="none", steps=1, assignments=assignments, device="cpu")
    finetune.finetune(photographs, vit_file, tokenizer, open_body, tmp_path / "run", options)
    assert [name for name, _ in sides] == ["score_predictions"] * 2 + ["draw_panels", "score_predictions"]
    for _, side in sides:
        torch.testing.assert_close(side, torch.full_like(side, 416.0), rtol=1e-4, atol=0)


def test_networks_that_see_other_shapes_are_scored_one_by_one(
    tmp_path, vit_file, tiny_config, tokenizer, tokenizer_file
):
    config = replace(tiny_config, image_size=64)
    network = build_regressor(config, tokenizer).network
    other = save_regressor(tmp_path / "r.pt", network, config, tokenizer, {"body": "open"})
    prepared(evaluation_npz(tmp_path, [[220.0, 260]]), tmp_path / "out")
    done = CliRunner().invoke(
        main,
        [
            "evaluate",
            str(vit_file),
            str(tmp_path / "out"),
            "--also",
            str(other),
            "--tokenizer",
            str(tokenizer_file),
            "--device",
            "cpu",
        ],
    )
    assert done.exit_code == 2 and "one by one" in done.output


@pytest.mark.skipif(not FIXTURES.exists(), reason="recorded outputs are not part of a clone")
def test_the_recorded_evaluation_crop(tmp_path):
    golden = np.load(FIXTURES / "golden.npz")
    prepare_shards(
        "evaluation-npz",
        [FIXTURES / "imagedataset.npz"],
        tmp_path / "out",
        ReadOptions(split="test"),
        StoreOptions(pixels=1000, quality=100),
        workers=1,
    )
    sample = open_crops(tmp_path / "out").at_size(256).as_predicted(0.75).sample(np.arange(1), "test")
    box = sample["box"][0].numpy()
    assert box[2] - box[0] == pytest.approx(float(golden["imagedataset/box_size"]), abs=1e-3)
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, golden["imagedataset/box_center"], atol=1e-3)
    ours, theirs = sample["keypoints_2d"][0].numpy(), golden["imagedataset/keypoints_2d"]
    known = ours[:, 2] > 0
    np.testing.assert_allclose(ours[known, :2], theirs[known, :2], atol=0.6 / 256)  # half a pixel, see reference_crop
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    recorded = golden["imagedataset/img"].transpose(1, 2, 0) * std + mean
    # They differ by half a pixel and by antialiasing alone; another rule shows quite another part.
    image = sample["image"][0].permute(1, 2, 0).float().numpy()
    assert np.abs(cv2.blur(image, (9, 9)) - cv2.blur(recorded.astype(np.float32), (9, 9))).mean() < 3
