"""Our own crop stores (``pose-regressor synthesize``) as shards, to be mixed with photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenizer.body.rotations import matrix_to_axis_angle
from tokenizer.engine.errors import fail

from ...sample import GENDERS, Sample, is_true_3d
from ..annotation import ImageRecord, Item, Person, Reading, ReadOptions, ReadTask
from ..crop_dataset import open_crops


@dataclass(frozen=True)
class StorePart:
    """Samples ``first`` to ``last`` of a split of a crop store."""

    path: Path
    key: str
    split: str
    first: int
    last: int

    def photos(self) -> Iterator[Item]:
        """Each crop as a photograph of its own, of as many pixels as it has: nothing is resampled."""
        sample = open_crops(self.path).sample(np.arange(self.first, self.last), self.split)
        for row in range(self.last - self.first):
            yield _photo(sample, row, f"{self.path.name}, {self.split} {self.first + row}")


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read all splits of crop stores. Raises ``UserError`` for other files."""
    parts: list[ReadTask] = []
    domains: set[str] = set()
    for path in sources:
        if path.is_dir():
            raise fail(f"{path} is a folder", expected="a crop store of `pose-regressor synthesize`")
        store = open_crops(path)
        domains.add(str(store.attributes.get("domain", "")))
        for split in store.splits:
            for first in range(0, store.count(split), options.people):
                last = min(first + options.people, store.count(split))
                parts.append(StorePart(path, f"{store.digest} {split} {first} {last}", split, first, last))
    if len(domains) > 1:
        raise fail(
            "These crop stores are of several domains",
            got=", ".join(sorted(domains)),
            next_step="Prepare each domain into a folder of its own",
        )
    # What training and prediction go by.
    domain = {"domain": next(iter(domains))} if any(domains) else {}
    return Reading(parts, {"boxes": "those of the crop store", "cameras": "annotated", **domain})


def _photo(sample: Sample, row: int, name: str) -> ImageRecord:
    image = sample["image"][row].permute(1, 2, 0).numpy()
    size = image.shape[0]
    box, K = sample["box"][row].double().numpy(), sample["K"][row].double().numpy()
    # The crop is all there is of the photograph: its pixels become those of the camera.
    scale = size / (box[2] - box[0])
    K = np.concatenate([(K[:2] - box[:2, None] * [0, 0, 1]) * scale, K[2:]])
    points = sample["keypoints_2d"][row].double().numpy()
    points = np.concatenate([(points[:, :2] + 0.5) * size, points[:, 2:]], 1)
    optional = {
        name: matrix_to_axis_angle(sample[name][row]).numpy().reshape(-1) if sample[f"has_{name}"][row] else None  # type: ignore[literal-required]
        for name in ("global_orient", "body_pose")
    }
    gender = int(sample["gender"][row]) if "gender" in sample else 0
    person = Person(
        np.array([0.0, 0, size, size]),
        keypoints_2d=points,
        keypoints_3d=sample["keypoints_3d"][row].numpy(),
        betas=sample["betas"][row].numpy() if sample["has_betas"][row] else None,
        translation=sample["translation"][row].numpy(),
        K=K,
        gender=GENDERS[gender],
        true_3d=bool(is_true_3d(sample)[row]),
        **optional,
    )
    return ImageRecord(name, image, (person,))
