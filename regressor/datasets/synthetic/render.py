"""Synthetic crops: the open body in real or sampled poses, true perspective cameras, exact annotation.

Two domains. ``suit``: a colour-coded suit, near-plain backgrounds, hardly an occluder, yaw within ±75°: what a CPU can
learn in minutes. ``varied``: skin, clothes, hair, lights, backgrounds, occluders, all yaws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tokenizer.body.camera import intrinsics, project
from tokenizer.body.model import Body, load_body, load_garments
from tokenizer.body.render import downsample, interpolate, rasterize, shade, vertex_normals
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import fail
from tokenizer.engine.processes import available_cores, map_in_order

from ...geometry.camera import crop_intrinsics, pixels_to_crop, square_box
from ..crop_store import Arrays, write_crops
from .appearance import occlude, plain_background, spoil, suit_colours, varied_background, varied_colours

SPLITS = ("train", "val", "test")
_SUPERSAMPLE = 2
_BATCH = 16
_SENSOR_MM = 36.0


@dataclass(frozen=True)
class SyntheticConfig:
    """``size``: pixels of a crop; image: width, height of the full image in pixels; ``focal_mm``: range of focal
    lengths on a 36 mm sensor; ``yaw_deg``: largest turn away from the camera; ``jitter``: of the box, by its side."""

    domain: Literal["suit", "varied"] = "suit"
    size: int = 128
    image: tuple[int, int] = (640, 480)
    focal_mm: tuple[float, float] = (24.0, 85.0)
    yaw_deg: float = 75.0
    pitch_deg: float = 8.0
    roll_deg: float = 4.0
    occluded: float = 0.1
    jitter: float = 0.05
    seed: int = 0

    @classmethod
    def of(cls, domain: str, **changes: Any) -> SyntheticConfig:
        """The settings of a domain. Raises ``UserError`` for a domain that is not there."""
        if domain == "suit":
            return cls(**changes)
        if domain == "varied":
            return cls(domain="varied", yaw_deg=180.0, pitch_deg=14.0, roll_deg=7.0, occluded=0.4, **changes)
        raise fail(f"Unknown domain {domain!r}", expected="suit or varied")


@dataclass(frozen=True)
class _Job:
    split: str
    first: int
    poses: np.ndarray


def make_crops(
    poses: dict[str, np.ndarray],
    counts: dict[str, int],
    out: str | Path,
    config: SyntheticConfig,
    *,
    provenance: dict[str, Any],
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Render ``counts`` crops a split into the crop store ``out``, from poses (N,21,3) axis-angle a split.

    Image i of a split depends on the seed, the split and i alone. ``progress`` is called with the number of images of
    each batch. Raise ``UserError`` for a split without poses.
    """
    jobs = []
    for split, count in counts.items():
        if count and not len(poses[split]):
            raise fail(f"No poses for the {split} split", expected="a pose store with train and val poses")
        order = np.random.default_rng([config.seed, SPLITS.index(split)]).permutation(len(poses[split]))
        chosen = order[np.arange(count) % max(1, len(order))]
        jobs += [_Job(split, i, poses[split][chosen[i : i + _BATCH]]) for i in range(0, count, _BATCH)]
    attributes = {**asdict(config), **provenance, "synthetic": True}
    batches = map_in_order(partial(_paint, config=config), jobs, min(workers or available_cores(), len(jobs)))
    with closing(batches), write_crops(out, config.size, counts, attributes) as writer:
        for split, batch in batches:
            writer.append(split, batch)
            if progress is not None:
                progress(len(batch["image"]))


def split_poses(train: np.ndarray, val: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Poses (N,21,3) for each split of crops; val and test divide the held-out poses between them."""
    order = np.random.default_rng([seed, len(SPLITS)]).permutation(len(val))
    half = len(val) // 2
    return {"train": train, "val": val[order[:half]], "test": val[order[half:]]}


def _paint(job: _Job, config: SyntheticConfig) -> tuple[str, Arrays]:
    return job.split, _painter(config).paint(job.split, job.first, job.poses)


@lru_cache(maxsize=1)
def _painter(config: SyntheticConfig) -> Painter:
    return Painter(config)


class Painter:
    """Holds the meshes of one domain and paints batches of crops."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.body = load_body("open")
        self.meshes: dict[str, Body] = {"body": self.body}
        if config.domain == "varied":
            self.meshes |= load_garments()
        self.rest = {name: mesh.v_template.numpy() for name, mesh in self.meshes.items()}
        self.eyes = self._eyes()
        self.suit = suit_colours(self.body.vertex_part.numpy(), self.eyes, self.rest["body"])

    @torch.no_grad()
    def paint(self, split: str, first: int, poses: np.ndarray) -> Arrays:
        """Crops ``first``, ``first`` + 1, … of a split with poses (B,21,3), as the arrays of a crop store."""
        config = self.config
        draws = [np.random.default_rng([config.seed, SPLITS.index(split), first + i]) for i in range(len(poses))]
        scene = self.scene(poses, draws)
        crop_K = crop_intrinsics(scene["K"], scene["box"], config.size * _SUPERSAMPLE)
        worn = [self._worn(draw) for draw in draws]
        colour, mask = self._render(scene, crop_K, worn, draws)
        images = [self._compose(colour[i], mask[i], draws[i]) for i in range(len(poses))]
        arrays = {name: value.numpy() for name, value in scene.items()}
        yes = np.ones(len(poses), dtype=bool)
        return {
            **arrays,
            "image": np.stack(images).transpose(0, 3, 1, 2),
            "has_global_orient": yes,
            "has_body_pose": yes,
            "has_betas": yes,
        }

    def scene(self, poses: np.ndarray, draws: list[np.random.Generator]) -> dict[str, Tensor]:
        """Body, camera and box of every image, with keypoints: a sample of poses (B,21,3) without its image."""
        config, count = self.config, len(draws)
        width, height = config.image

        def each(function: Callable[[np.random.Generator], Any]) -> Tensor:
            return torch.from_numpy(np.array([function(draw) for draw in draws], dtype=np.float32))

        focal = each(lambda d: d.uniform(*config.focal_mm)) * width / _SENSOR_MM
        yaw = each(lambda d: d.uniform(-config.yaw_deg, config.yaw_deg))
        pitch = each(lambda d: d.normal(0, config.pitch_deg)).clamp(-30, 30)
        roll = each(lambda d: d.normal(0, config.roll_deg)).clamp(-15, 15)
        betas = each(lambda d: d.standard_normal(10)).clamp(-2.5, 2.5)
        tall = each(lambda d: d.uniform(0.4, 0.85)) * height
        centre = each(lambda d: d.uniform([0.25, 0.4], [0.75, 0.6])) * torch.tensor([width, height])
        stray = each(lambda d: d.uniform(-1, 1, 3)) * config.jitter
        K = intrinsics(focal, width, height)
        body_pose = torch.cat([axis_angle_to_matrix(torch.from_numpy(poses)), torch.eye(3).expand(count, 2, 3, 3)], 1)
        to_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
        orient = _turn(roll, 2) @ _turn(pitch, 0) @ to_camera @ _turn(yaw, 1)
        depth = focal * 1.7 / tall
        ray = torch.cat([(centre - K[:, :2, 2]) / focal[:, None], torch.ones(count, 1)], 1)
        translation = ray * depth[:, None] - self.body.rest_pelvis(betas)
        placement = {"root": orient, "betas": betas, "translation": translation}
        points = self.body.keypoints(body_pose, **placement)
        outline = torch.cat([points, self.body.vertices(body_pose, subset=self.body.subset(128), **placement)], 1)
        pixels = project(outline, K)
        box = square_box(torch.cat([pixels.amin(1), pixels.amax(1)], 1), margin=1.2)
        side = box[:, 2:3] - box[:, :1]
        middle = (box[:, :2] + box[:, 2:]) / 2 + stray[:, :2] * side
        half = side / 2 * (1 + stray[:, 2:])
        box = torch.cat([middle - half, middle + half], 1)
        ones = torch.ones(count, points.shape[1], 1)
        return {
            "keypoints_2d": torch.cat([pixels_to_crop(project(points, K), box), ones], -1),
            "keypoints_3d": torch.cat([points, ones], -1),
            "global_orient": orient,
            "body_pose": body_pose,
            "betas": betas,
            "translation": translation,
            "box": box,
            "image_size": torch.tensor([width, height], dtype=torch.float32).expand(count, 2),
            "K": K,
        }

    def _worn(self, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """Colours (V,3) of every mesh that one person wears."""
        if self.config.domain == "suit":
            return {"body": self.suit}
        chosen = {"body": self.rest["body"], "bodysuit": self.rest["bodysuit"]}
        for name, share in (("skirt", 0.25), ("hair", 0.6)):
            if draw.random() < share:
                chosen[name] = self.rest[name]
        return varied_colours(chosen, self.eyes, draw)

    def _render(
        self,
        scene: dict[str, Tensor],
        crop_K: Tensor,
        worn: list[dict[str, np.ndarray]],
        draws: list[np.random.Generator],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Shaded colour (B,S,S,3), premultiplied, and coverage (B,S,S,1), in [0, 1]."""
        placement = {"root": scene["global_orient"], "betas": scene["betas"], "translation": scene["translation"]}
        parts = {name: mesh.vertices(scene["body_pose"], **placement) for name, mesh in self.meshes.items()}
        vertices = torch.cat(list(parts.values()), 1)
        offsets = np.cumsum([0, *(part.shape[1] for part in parts.values())])
        faces = torch.cat([mesh.faces + int(start) for mesh, start in zip(self.meshes.values(), offsets, strict=False)])
        colours = torch.zeros(len(worn), vertices.shape[1], 3)
        for i, clothes in enumerate(worn):
            for name, start in zip(self.meshes, offsets, strict=False):
                span = slice(int(start), int(start) + parts[name].shape[1])
                if name in clothes:
                    colours[i, span] = torch.from_numpy(clothes[name].astype(np.float32))
                else:
                    # Not worn by this one: behind the camera, where nothing is drawn.
                    vertices[i, span, 2] = -1.0
        edge = self.config.size * _SUPERSAMPLE
        # Skirt and hair are open sheets that show both of their sides.
        raster = rasterize(vertices, faces, crop_K, (edge, edge), cull=self.config.domain == "suit")
        attributes = torch.cat([vertex_normals(vertices, faces), colours], -1)
        surface = interpolate(raster, attributes, faces)
        strength = 0.35 if self.config.domain == "suit" else 0.9
        light = torch.from_numpy(np.array([[d.uniform(-1, 1), d.uniform(-1.2, 0.2), -1.0] for d in draws], np.float32))
        ambient = torch.from_numpy(np.array([1 - strength * d.uniform(0.5, 1) for d in draws], np.float32))
        brightness = shade(_facing(surface[..., :3]), light, ambient)
        covered = (raster.face >= 0)[..., None].float()
        image = downsample(surface[..., 3:] * brightness * covered, _SUPERSAMPLE)
        return image.numpy(), downsample(covered, _SUPERSAMPLE).numpy()

    def _compose(self, colour: np.ndarray, mask: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        config = self.config
        varied = config.domain == "varied"
        background = varied_background(config.size, draw) if varied else plain_background(config.size, draw)
        image = colour + background.clip(0, 1) * (1 - mask)
        if draw.random() < config.occluded:
            image = occlude(image, draw, 0.5 if varied else 0.25)
        if varied:
            image = spoil(image, draw)
        else:
            image = image + draw.normal(0, 0.01, image.shape)
        return (image.clip(0, 1) * 255).round().astype(np.uint8)

    def _eyes(self) -> np.ndarray:
        from tokenizer.body.open_body import open_body_arrays

        return open_body_arrays()["eyes"]


def _facing(normals: Tensor) -> Tensor:
    """Normals turned towards the camera, which looks along +z: sheets are lit on the side that is seen."""
    return torch.where(normals[..., 2:] > 0, -normals, normals)


def _turn(degrees: Tensor, axis: int) -> Tensor:
    vector = torch.zeros(len(degrees), 3)
    vector[:, axis] = degrees * math.pi / 180
    return axis_angle_to_matrix(vector)
