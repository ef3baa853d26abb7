"""Which camera took a photograph: what the user gives, else what EXIF names, else an assumption, and which of them.

K refers to the image as it is shown, turned as EXIF says. Pixels are square, and the principal point is the middle,
unless all four intrinsics are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenizer.body.camera import intrinsics
from tokenizer.engine.errors import fail

from ..datasets.exif import Lens
from ..geometry.camera import DEFAULT_FOV_DEG, assumed_intrinsics

_FRAME_MM = math.hypot(36, 24)
"""Diagonal of the frame that 35 mm equivalents refer to (CIPA DCG-001)."""
_SAME_SHAPE = 0.02
"""Two pictures whose ratios of sides differ by more are not one and the same."""
_MOST_FOCAL_PX = 1e7


@dataclass(frozen=True)
class Camera:
    """``K`` (3,3) px of an image; ``source``: where it is from, for people to read; ``assumed``: it is a guess."""

    K: Tensor
    source: str
    assumed: bool = False


@dataclass(frozen=True)
class CameraOptions:
    """What is known of the camera of all images, one of: ``intrinsics`` fx, fy, cx, cy in pixels; ``focal_px``;
    ``fov_deg``, the diagonal field of view in degrees. None of them: each image's EXIF, else ``DEFAULT_FOV_DEG``.

    Raise ``UserError`` for several of them, and for numbers that no camera has.
    """

    intrinsics: tuple[float, float, float, float] | None = None
    focal_px: float | None = None
    fov_deg: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        names = ("--intrinsics", "--focal-px", "--fov")
        given = [
            name for name, value in zip(names, (self.intrinsics, self.focal_px, self.fov_deg)) if value is not None
        ]
        if len(given) > 1:
            raise fail("The camera is given more than once", got=" and ".join(given), expected="one of them")
        if self.fov_deg is not None:
            assumed_intrinsics(2, 2, self.fov_deg)
        for focal in (*((self.focal_px,) if self.focal_px is not None else ()), *(self.intrinsics or ())[:2]):
            if not 0 < focal <= _MOST_FOCAL_PX:
                raise fail("The focal length is impossible", got=f"{focal:g}", expected="pixels, more than 0")

    @property
    def given(self) -> bool:
        """Whether anything is known."""
        return self != CameraOptions()

    def of_image(self, width: int, height: int, lens: Lens | None, where: str) -> Camera:
        """The camera of an image of that size in pixels, as shown; ``lens``: what its EXIF says.

        Raise ``UserError`` where the principal point given lies outside of the image.
        """
        if self.intrinsics is not None:
            return Camera(_full(self.intrinsics, width, height, where), "intrinsics given")
        if self.focal_px is not None:
            return Camera(
                intrinsics(torch.tensor(self.focal_px), width, height), f"focal length {self.focal_px:g} px given"
            )
        if self.fov_deg is not None:
            K = assumed_intrinsics(width, height, self.fov_deg)
            return Camera(K, f"diagonal field of view {self.fov_deg:g}° given")
        if lens is not None and _same_shape(lens, width, height):
            focal = math.hypot(width, height) * lens.focal_35mm / _FRAME_MM
            return Camera(intrinsics(torch.tensor(focal), width, height), f"EXIF: {lens.focal_35mm} mm on 35 mm film")
        source = f"assumed: diagonal field of view {DEFAULT_FOV_DEG:g}°"
        if lens is not None:
            source += "; EXIF is of a picture of another shape, before it was cut"
        return Camera(assumed_intrinsics(width, height), source, assumed=True)


def parse_intrinsics(text: str) -> tuple[float, float, float, float]:
    """The text ``fx,fy,cx,cy`` → four numbers in pixels. Raise ``UserError`` for any other."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise fail("--intrinsics are no intrinsics", got=text, expected="fx,fy,cx,cy in pixels")
    return values[0], values[1], values[2], values[3]


def _full(numbers: tuple[float, float, float, float], width: int, height: int, where: str) -> Tensor:
    fx, fy, cx, cy = numbers
    if not (0 < cx < width and 0 < cy < height):
        raise fail(
            f"The intrinsics are not of {where}",
            got=f"a principal point at {cx:g},{cy:g} in an image of {width} × {height} pixels",
            next_step="Give those of this size, and predict images of another camera by themselves",
        )
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _same_shape(lens: Lens, width: int, height: int) -> bool:
    """Whether the image may be the whole picture that the camera took, upright or turned."""
    if lens.size is None:
        return True
    long, short = max(lens.size), min(lens.size)
    return abs(max(width, height) / min(width, height) / (long / short) - 1) <= _SAME_SHAPE
