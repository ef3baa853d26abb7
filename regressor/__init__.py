"""Stage 2: from an image crop to pose tokens to a SMPL body."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).resolve().with_name("assets") / "keypoints.pt"
"""The regressor that ships with the package; commands know it as ``shipped``."""
_HOMES = {
    "Box": "geometry.boxes",
    "DetectedPerson": "people.detection.detected_person",
    "People": "people.predict",
    "Prediction": "network.prediction",
    "Regressor": "network.model",
    "assumed_intrinsics": "geometry.camera",
    "detect_people": "people.detection.detector",
    "load_regressor": "checkpoints.regressor_file",
    "predict_people": "people.points",
    "read_image": "datasets.image_files",
}

__all__ = [
    "Box",
    "DetectedPerson",
    "People",
    "Prediction",
    "Regressor",
    "assumed_intrinsics",
    "detect_people",
    "load_regressor",
    "predict_people",
    "read_image",
]


def __getattr__(name: str) -> Any:
    """Public names load on first use, so that ``--help`` never pays for torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
