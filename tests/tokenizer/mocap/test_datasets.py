"""Which data set a clip belongs to, the paper's splits of them, and the table of what was prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tokenizer.commands.cli import main
from tokenizer.mocap.datasets import PAPER_MIXTURE, SPLITS, canonical_name, dataset_of, paper_split
from tokenizer.mocap.prepare import PrepareOptions, prepare
from tokenizer.mocap.store import open_store


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("CMU/01/01_01_poses.npz", "CMU"),
        ("amass/BioMotionLab_NTroje/rub001/0001_poses.npz", "BMLrub"),
        ("cmu/train/walk.npz", "CMU"),
        ("AMASS/MPI_Limits/03099/lar1_poses.npz", "MPI-Limits"),
        ("amass/MPI_mosh/x.npz", "MPI-Mosh"),
        ("smplh/train/train_CMU.npz", "CMU"),
        ("smplh/val/val_MPI_HDM05.npz", "HDM05"),
        ("MOYO/mosh_smpl/val/a_stageii_smpl.pkl", "MOYO"),
        ("dances/val/CMU_like/waltz.npz", "dances"),
        ("val/waltz.npz", "val/waltz.npz"),
        ("mocap/cmu_amc/train/cmu_02_03_poses.npz", "CMU"),
        ("embedded/seed 0", "embedded"),
    ],
)
def test_the_data_set_of_a_clip(name, dataset):
    assert dataset_of(name) == dataset


def test_the_paper_uses_names_that_are_known_once():
    assert len(PAPER_MIXTURE) == 13 and sum(PAPER_MIXTURE.values()) == pytest.approx(1)
    for name in (*PAPER_MIXTURE, "HumanEva", "HDM05", "SFU", "MPI-Mosh", "Transitions", "SSM"):
        assert dataset_of(f"amass/{name}/a.npz") == canonical_name(name) == name
    by_split = {
        split: [
            n
            for n in (
                "humaneva",
                "mpi_hdm05",
                "SFU",
                "MPI_mosh",
                "Transitions_mocap",
                "SSM_synced",
                "MOYO",
                "somebody's",
                *PAPER_MIXTURE,
            )
            if paper_split(n) == split
        ]
        for split in SPLITS
    }
    assert by_split["val"] == ["humaneva", "mpi_hdm05", "SFU", "MPI_mosh"]
    assert by_split["test"] == ["Transitions_mocap", "SSM_synced"]
    assert set(PAPER_MIXTURE) | {"somebody's"} == set(by_split["train"])


@pytest.fixture
def amass(tmp_path):
    """Clips of 150 s in five data sets; MOYO is divided by its own folders."""
    folders = ("CMU/01", "CMU/02", "HumanEva/S1", "SSM_synced/s", "MOYO/train", "MOYO/val", "mine")
    for seed, folder in enumerate(folders):
        path = tmp_path / "amass" / folder / "a_poses.npz"
        path.parent.mkdir(parents=True)
        poses = np.random.default_rng(seed).normal(size=(15, 156)) * 0.1
        np.savez(path, poses=poses, mocap_framerate=0.1)
    return tmp_path / "amass"


def test_splits_by_data_set(amass, tmp_path):
    prepare([amass], tmp_path / "p.h5", PrepareOptions(split="by-dataset"), workers=1)
    splits = {source.name.removeprefix("amass/"): source.split for source in open_store(tmp_path / "p.h5").sources}
    assert splits == {
        "CMU/01/a_poses.npz": "train",
        "CMU/02/a_poses.npz": "train",
        "HumanEva/S1/a_poses.npz": "val",
        "SSM_synced/s/a_poses.npz": "test",
        "MOYO/train/a_poses.npz": "train",
        "MOYO/val/a_poses.npz": "val",
        "mine/a_poses.npz": "train",
    }


def test_the_table_of_data_sets(amass, tmp_path):
    (amass / "CMU" / "broken.npz").write_bytes(b"")
    (amass / "MOYO" / "copy_poses.npz").write_bytes((amass / "CMU" / "01" / "a_poses.npz").read_bytes())
    np.savez(amass / "mine" / "shape.npz", betas=np.zeros(10))
    words = ["prepare", amass, "--out", tmp_path / "p.h5", "--split", "by-dataset", "--workers", 1]
    done = CliRunner().invoke(main, list(map(str, words)))
    table = [line.split() for line in done.stdout.splitlines()[1:8]]
    assert table == [
        [
            "data",
            "set",
            "clips",
            "train",
            "poses",
            "val",
            "poses",
            "test",
            "poses",
            "hours",
            "broken",
            "same",
            "no",
            "motion",
        ],
        ["CMU", "2", "30", "0", "0", "0.08", "1", "0", "0"],
        ["HumanEva", "1", "0", "15", "0", "0.04", "0", "0", "0"],
        ["MOYO", "2", "15", "15", "0", "0.08", "0", "1", "0"],
        ["SSM", "1", "0", "0", "15", "0.04", "0", "0", "0"],
        ["amass", "1", "15", "0", "0", "0.04", "0", "0", "1"],
        ["all", "7", "60", "30", "15", "0.29", "1", "1", "1"],
    ]
    assert "--split=by-dataset" in open_store(tmp_path / "p.h5").command


def test_a_folder_of_one_split_keeps_its_data_set_and_credit(tmp_path):
    folder = tmp_path / "cmu" / "train"
    folder.mkdir(parents=True)
    for seed in range(2):
        np.savez(folder / f"{seed}.npz", poses=np.full((4, 156), seed * 0.01), mocap_framerate=30.0)
    for given in (folder, folder / "0.npz", Path(f"{folder}/../train")):
        prepare([given], tmp_path / "p.h5", PrepareOptions(), workers=1)
        source = open_store(tmp_path / "p.h5").sources[0]
        assert source.name == "cmu/train/0.npz" and "EIA-0196217" in source.licence
