"""Data sets of motion: which one a clip belongs to, and the paper's splits and mixture of them.

TokenHMR (Dwivedi et al., CVPR 2024) trains on data sets of AMASS (Mahmood et al., ICCV 2019) and on MOYO.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from ..engine.shares import folded

SPLITS = ("train", "val", "test")

_ALIASES: dict[str, tuple[str, ...]] = {
    "ACCAD": (),
    "BMLhandball": (),
    "BMLmovi": (),
    "BMLrub": ("BioMotionLab_NTroje",),
    "CMU": ("cmu_bvh", "cmu_amc", "asf_amc"),
    "CNRS": (),
    "DanceDB": (),
    "DFaust": ("DFaust_67",),
    "EKUT": (),
    "EyesJapan": ("Eyes_Japan_Dataset",),
    "GRAB": (),
    "HDM05": ("MPI_HDM05",),
    "HUMAN4D": (),
    "HumanEva": (),
    "KIT": (),
    "MOYO": (),
    "MPI-Limits": ("PosePrior",),
    "MPI-Mosh": ("MoSh",),
    "SFU": (),
    "SOMA": (),
    "SSM": ("SSM_synced",),
    "TCDHands": ("TCD_handMocap",),
    "TotalCapture": (),
    "Transitions": ("Transitions_mocap",),
    "WEIZMANN": (),
}
"""Name of a data set → what its folder is called in other releases."""

PAPER_MIXTURE = {
    "CMU": 0.12,
    "KIT": 0.11,
    "BMLrub": 0.11,
    "DanceDB": 0.05,
    "BMLmovi": 0.05,
    "EyesJapan": 0.05,
    "BMLhandball": 0.05,
    "TotalCapture": 0.05,
    "EKUT": 0.03,
    "ACCAD": 0.03,
    "TCDHands": 0.03,
    "MPI-Limits": 0.16,
    "MOYO": 0.16,
}
"""Share of each data set in a batch."""

_PAPER_SPLITS = {
    "HumanEva": "val",
    "HDM05": "val",
    "SFU": "val",
    "MPI-Mosh": "val",
    "Transitions": "test",
    "SSM": "test",
}


_KNOWN = {folded(spelling): name for name, others in _ALIASES.items() for spelling in (name, *others)}


def canonical_name(name: str) -> str:
    """The one spelling of a known data set; any other name as it is."""
    return _KNOWN.get(folded(name), name)


def dataset_of(name: str) -> str:
    """The data set of a source of the store, ``cmu/train/walk.npz`` → ``CMU``.

    That is the innermost known name among its folders, or in its own name as in ``train_CMU.npz``; else its outermost
    folder that is not train, val or test, which is the folder that was given; else the whole name.
    """
    path = PurePosixPath(name)
    own = path.stem.split("_", 1)[1] if path.stem.split("_")[0] in SPLITS and "_" in path.stem else path.stem
    folders = [part for part in path.parts[:-1] if part not in (*SPLITS, "/")]
    known = [_KNOWN[folded(part)] for part in (*folders, own) if folded(part) in _KNOWN]
    return known[-1] if known else folders[0] if folders else name


def paper_split(dataset: str) -> str:
    """The split of a data set as a whole; MOYO is divided by its own folders, and train without them."""
    return _PAPER_SPLITS.get(canonical_name(dataset), "train")
