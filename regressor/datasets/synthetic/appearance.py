"""What synthetic people and their surroundings look like: suit, varied clothes, backgrounds, occluders.

Colours are RGB in [0, 1]. Every function draws from the generator it is given and nothing else.
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from tokenizer.body.skeleton import JOINT_NAMES

_SUIT_HUES = {
    "pelvis": 0.60,
    "spine1": 0.55,
    "spine2": 0.50,
    "spine3": 0.44,
    "neck": 0.40,
    "hip": 0.06,
    "knee": 0.11,
    "ankle": 0.16,
    "foot": 0.20,
    "collar": 0.92,
    "shoulder": 0.96,
    "elbow": 0.00,
    "wrist": 0.03,
    "hand": 0.08,
}
_SKIN = np.array([[0.95, 0.80, 0.69], [0.87, 0.67, 0.53], [0.76, 0.54, 0.38], [0.55, 0.36, 0.24], [0.36, 0.23, 0.16]])


def suit_colours(parts: np.ndarray, eyes: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Colours (V,3) of the fixed suit: each part its own, left bright and warm, right dark and cool, skin on the head.

    ``parts`` (V,): the SMPL joint of a vertex; ``eyes`` (V,) bool; ``rest`` (V,3): rest shape, whose back is darker.
    """
    table = np.zeros((len(JOINT_NAMES), 3))
    for joint, name in enumerate(JOINT_NAMES):
        side, _, limb = name.partition("_")
        if name == "head":
            table[joint] = _SKIN[1]
        elif limb and side == "left":
            table[joint] = colorsys.hsv_to_rgb(_SUIT_HUES[limb], 0.85, 1.0)
        elif limb:
            table[joint] = colorsys.hsv_to_rgb((_SUIT_HUES[limb] + 0.62) % 1.0, 0.9, 0.65)
        else:
            table[joint] = colorsys.hsv_to_rgb(_SUIT_HUES[name], 0.35, 0.9)
    colours = table[parts]
    colours[eyes] = 0.1
    hair = (parts == JOINT_NAMES.index("head")) & ((rest[:, 2] < 0.04) | (rest[:, 1] > rest[:, 1].max() - 0.06)) & ~eyes
    colours[hair] = (0.25, 0.15, 0.1)
    return colours


def varied_colours(rest: dict[str, np.ndarray], eyes: np.ndarray, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Random colours of skin, bodysuit, skirt and hair: ``rest`` gives the rest vertices (V,3) of what is worn."""
    colours = {}
    for name, vertices in rest.items():
        if name == "body":
            tone = draw.integers(len(_SKIN) - 1)
            mixed = _SKIN[tone] + draw.random() * (_SKIN[tone + 1] - _SKIN[tone])
            colours[name] = np.tile(mixed * draw.uniform(0.9, 1.05), (len(vertices), 1))
            front = vertices[:, 2] > np.quantile(vertices[eyes][:, 2], 0.9)
            colours[name][eyes] = np.where(front[eyes, None], 0.08, 0.92)
        elif name == "hair":
            colours[name] = np.tile(
                colorsys.hsv_to_rgb(draw.uniform(0.02, 0.12), draw.uniform(0.1, 0.8), draw.uniform(0.05, 0.8)),
                (len(vertices), 1),
            )
        else:
            colours[name] = _pattern(vertices, draw)
    return colours


def _pattern(vertices: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Plain cloth, trousers and a top, stripes, checks or blotches, in rest coordinates."""
    first, second = _cloth_colour(draw), _cloth_colour(draw)
    kind = draw.integers(5)
    frequency, phase = draw.uniform(15, 90), draw.uniform(0, 6.3)
    if kind == 0:
        share = np.zeros(len(vertices))
    elif kind == 1:
        share = (vertices[:, 1] < draw.uniform(-0.25, -0.05)).astype(float)
    elif kind == 2:
        direction = draw.normal(size=3)
        share = (np.sin(vertices @ (direction / np.linalg.norm(direction)) * frequency + phase) > 0).astype(float)
    elif kind == 3:
        share = (np.sin(vertices[:, :2] * frequency + phase) > 0).sum(1) % 2
    else:
        waves = np.sin(vertices @ draw.normal(size=(3, 4)) * frequency / 3 + draw.uniform(0, 6.3, 4))
        share = np.clip(0.5 + waves.mean(1), 0, 1)
    return first + np.asarray(share, dtype=float)[:, None] * (second - first)


def _cloth_colour(draw: np.random.Generator) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(draw.random(), draw.random() ** 1.5, draw.uniform(0.08, 1.0)))


def plain_background(size: int, draw: np.random.Generator) -> np.ndarray:
    """(size,size,3): one grey running softly into another."""
    low, high = draw.uniform(0.15, 0.9, 2)
    angle = draw.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] / size - 0.5
    ramp = 0.5 + (x * np.cos(angle) + y * np.sin(angle)) / 1.5
    tint = draw.uniform(-0.04, 0.04, 3)
    return (low + ramp * (high - low) * 0.5)[..., None] + tint


def varied_background(size: int, draw: np.random.Generator) -> np.ndarray:
    """(size,size,3): smooth noise of several scales, often with a floor in perspective and random shapes."""
    image = plain_background(size, draw) + draw.uniform(-0.15, 0.15, 3)
    for cells in (3, 8, 24):
        grey, tint = draw.normal(size=(cells, cells, 1)), draw.normal(size=(cells, cells, 3))
        noise = ((grey + 0.3 * tint) * draw.uniform(0, 0.15)).astype(np.float32)
        image = image + cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    image = np.ascontiguousarray(image, dtype=np.float32)
    if draw.random() < 0.5:
        _floor(image, draw)
    for _ in range(draw.integers(0, 9)):
        _shape(image, draw, draw.uniform(0.05, 0.5))
    return image


def occlude(image: np.ndarray, draw: np.random.Generator, largest: float) -> np.ndarray:
    """The image (S,S,3) with one shape of up to ``largest`` of its width in front."""
    image = np.ascontiguousarray(image, dtype=np.float32)
    _shape(image, draw, draw.uniform(0.3 * largest, largest))
    return image


def spoil(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """What cameras do to (S,S,3) in [0, 1]: exposure, blur, noise, JPEG."""
    image = np.clip(image * draw.uniform(0.7, 1.25) + draw.uniform(-0.08, 0.08), 0, 1).astype(np.float32)
    if draw.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.4, 1.3))
    image = image + draw.normal(0, draw.uniform(0, 0.03), image.shape)
    pixels = (image.clip(0, 1) * 255).round().astype(np.uint8)
    if draw.random() < 0.5:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(draw.integers(35, 95))])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return pixels.astype(np.float32) / 255


def _floor(image: np.ndarray, draw: np.random.Generator) -> None:
    size = len(image)
    horizon = int(size * draw.uniform(0.35, 0.8))
    rows = np.arange(horizon, size)
    if not len(rows):
        return
    depth = size * 0.5 / (rows - horizon + 1)
    x = (np.arange(size) - size * draw.uniform(0.2, 0.8))[None] * depth[:, None] / size
    tile = draw.uniform(0.3, 2.0)
    check = (np.floor(x / tile) + np.floor(depth / tile)[:, None]) % 2
    first, second = _cloth_colour(draw), _cloth_colour(draw)
    image[horizon:] = first + check[..., None] * (second - first) * draw.uniform(0, 0.6)


def _shape(image: np.ndarray, draw: np.random.Generator, share: float) -> None:
    size = len(image)
    colour = tuple(float(value) for value in _cloth_colour(draw))
    centre = draw.uniform(0, size, 2)
    extent = size * share * draw.uniform(0.3, 1.0, 2) / 2
    if draw.random() < 0.5:
        box = cv2.boxPoints(
            (
                (float(centre[0]), float(centre[1])),
                (float(2 * extent[0]), float(2 * extent[1])),
                float(draw.uniform(0, 90)),
            )
        )
        cv2.fillPoly(image, [np.asarray(box).astype(np.int32)], colour, cv2.LINE_AA)
    else:
        axes = (max(1, int(extent[0])), max(1, int(extent[1])))
        middle = (int(centre[0]), int(centre[1]))
        cv2.ellipse(image, middle, axes, draw.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
