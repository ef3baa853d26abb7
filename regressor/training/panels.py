"""Pictures of a training: the same few held-out people at every validation."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.figures import lay_over, paint, suit_colours
from tokenizer.body.metrics import mpjpe
from tokenizer.body.skeleton import index
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.training.run import RunFolder

from ..datasets.mixtures import Mixture
from ..datasets.synthetic.contact_sheet import draw_keypoints
from ..export.mesh import write_image
from ..export.overlay import both_sides
from ..geometry.camera import crop_intrinsics
from ..network.model import Regressor, evidence_of
from ..sample import Sample, num_samples, to_device

_SIZE = 160
_COLUMNS = 2
_QUALITY = 80
_INK = (60, 60, 60)


class Panels:
    """``count`` people of the val split (or all) spread evenly over it; none where ``count`` is 0.

    Raises ``UserError`` for a negative count.
    """

    def __init__(self, mixture: Mixture, count: int) -> None:
        if count < 0:
            raise fail("The number of people in pictures is impossible", got=count, expected="0 or more")
        self.sample: Sample | None = mixture.some("val", count) if count else None

    def save(self, run: RunFolder, step: int, regressor: Regressor, body: Body) -> None:
        """Write ``pictures/step-000500.jpg`` in the run folder, and show it in TensorBoard where that is open.

        Where the file cannot be written ``log.txt`` says so: a picture is not worth a training.
        """
        if self.sample is None:
            return
        picture = draw_panels(regressor, self.sample, body)
        try:
            write_image(run.path / "pictures" / f"step-{step:06d}.jpg", picture, quality=_QUALITY)
            run.show("val/people", step, picture)
        except (OSError, UserError, ImportError) as error:  # disk full; TensorBoard older than its need of Pillow
            run.note(f"No picture of step {step}: {error}")


@torch.no_grad()
def draw_panels(regressor: Regressor, sample: Sample, body: Body, *, size: int = _SIZE) -> np.ndarray:
    """Two people a row → (H,W,3) uint8 RGB. Each is three squares of ``size`` px: the crop; the predicted body over
    it, with what is annotated of the 2D keypoints as dots; the predicted body from the side, over the true one and with
    its joint error where that is known.

    ``sample`` is on the CPU, and painting is done there: a training leaves no room on a GPU. Predictions that are no
    numbers are not painted.
    """
    on_device = to_device(sample, next(regressor.parameters()).device)
    prediction = regressor(evidence_of(on_device), box=on_device["box"], K=on_device["K"], body=body)
    joints, vertices = prediction.joints(body), prediction.vertices(body)
    truth = {"root": on_device["global_orient"], "betas": on_device["betas"]}
    true_joints, true_vertices = (
        body.joints(on_device["body_pose"], **truth),
        body.vertices(on_device["body_pose"], **truth),
    )
    is_annotated = (sample["has_body_pose"] & sample["has_global_orient"]).tolist()
    front = _drawable(vertices + prediction.camera_translation()[:, None])
    K, root = crop_intrinsics(sample["K"], sample["box"], size), index("pelvis")
    pelvis, true_pelvis = joints[:, root, None], true_joints[:, root, None]
    error = (1000 * mpjpe(joints - pelvis, true_joints - true_pelvis)).tolist()
    painted = paint(front, body.faces, K, (size, size), suit_colours(body))
    from_sides = both_sides(
        _drawable(vertices - pelvis), _drawable(true_vertices - true_pelvis), body, size, known=is_annotated
    )
    rows = []
    for number in range(num_samples(sample)):
        image = sample["image"][number].permute(1, 2, 0).numpy()
        crop: np.ndarray = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        over, side = lay_over(crop, painted[number]), from_sides[number]
        draw_keypoints(over, sample["keypoints_2d"][number].numpy())
        if is_annotated[number]:
            cv2.putText(side, f"{error[number]:.0f} mm", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
        rows.append(np.concatenate([crop, over, side], 1))
    rows += [np.full_like(rows[0], 255)] * (-len(rows) % _COLUMNS)
    return np.concatenate([np.concatenate(rows[i : i + _COLUMNS], 1) for i in range(0, len(rows), _COLUMNS)])


def _drawable(vertices: Tensor) -> Tensor:
    """Return them on the CPU, with zeros for non-finite values: triangles of no size, which nothing paints."""
    return vertices.nan_to_num(0.0, 0.0, 0.0).cpu()
