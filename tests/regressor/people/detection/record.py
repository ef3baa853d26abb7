"""Record what the models answer to one photograph, for tests that need neither: ``python record.py PHOTO OUT.npz``.

Only numbers are kept: of the detector the anchors that score at all, in each window; of the landmark model ``full``
its whole answer to the photograph and to the same turned clockwise by 90°, heat maps in eighths of a logit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from regressor.datasets.image_files import read_image
from regressor.people.detection.blazepose import DETECTOR_PX, LANDMARK_PX
from regressor.people.detection.detector import DetectionOptions, Detector, _crop
from regressor.people.detection.suppression import windows

LEAST_LOGIT = -3.0


def record(photo: Path) -> dict[str, np.ndarray]:
    """Return the recorded arrays of a photograph of one person."""
    image = read_image(photo)
    detector = Detector("full", DetectionOptions(half_size=False, refinements=0), threads=1)
    arrays: dict[str, np.ndarray] = {"size": np.array(image.shape[1::-1])}
    rows = []
    for number, window in enumerate(windows(*image.shape[1::-1])):
        offsets, logits = detector._detector(_crop(image, window, DETECTOR_PX).astype(np.float32) / 127.5 - 1)
        kept = np.flatnonzero(logits[:, 0] > LEAST_LOGIT)
        rows += [(number, anchor, logits[anchor, 0], *offsets[anchor]) for anchor in kept]
    arrays["detections"] = np.array(rows, np.float32)
    for name, picture in (("upright", image), ("turned", np.ascontiguousarray(np.rot90(image, -1)))):
        region = detector.detect(picture).region(0)
        crop = _crop(picture, region, LANDMARK_PX).astype(np.float32) / 255
        landmarks, score, _, heat, world = detector._landmarks(crop)
        arrays[f"{name}_region"] = np.array([*region.centre, region.side, region.angle])
        arrays[f"{name}_landmarks"], arrays[f"{name}_world"], arrays[f"{name}_score"] = landmarks, world, score
        arrays[f"{name}_heat"] = (heat * 8).round().clip(-48, 127).astype(np.int8)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(sys.argv[2], **record(Path(sys.argv[1])))
