"""EMDB as released: bodies in camera axes."""

from __future__ import annotations

import numpy as np
from image_data_sets import (
    write_emdb,
)
from scipy.spatial.transform import Rotation

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards


def prepare(name, sources, out, *, split="train", **reading):
    options = ReadOptions(split=split, **reading)
    return prepare_shards(name, list(sources), out, options, StoreOptions(), workers=1)


def test_emdb_in_camera_axes(tmp_path):
    content = write_emdb(tmp_path / "EMDB")
    write_emdb(tmp_path / "EMDB", "far", emdb1=False, emdb2=True)
    write_emdb(tmp_path / "EMDB", "short", good_frames_mask=np.ones(3, bool))
    report = prepare("emdb", [tmp_path / "EMDB"], tmp_path / "out", split="test")
    assert report.people == {"test": 2} and len(report.broken) == 1 and "several lengths" in report.broken[0][1]
    assert report.skipped == {"marked as invalid by EMDB": 2, "a sequence that is not of emdb1": 1}
    store = open_crops(tmp_path / "out")
    assert store.sequences("test") == ["P1_walk"] * 2 and "× 1.2" in store.attributes["boxes"]
    sample = store.sample(np.arange(2), "test")
    for row, frame in enumerate((0, 2)):
        root = Rotation.from_rotvec(content["smpl"]["poses_root"][frame]).as_matrix()
        np.testing.assert_allclose(
            sample["global_orient"][row], content["camera"]["extrinsics"][frame, :3, :3] @ root, atol=1e-5
        )
        np.testing.assert_allclose(sample["betas"][row], content["smpl"]["betas"], rtol=1e-6)
    np.testing.assert_allclose(sample["box"][0], [64, 44, 136, 116], atol=1e-4)
    assert sample["gender"].tolist() == [1, 1] and sample["has_body_pose"].all()
    assert prepare("emdb", [tmp_path / "EMDB"], tmp_path / "all", split="test", subset="all").people == {"test": 4}
