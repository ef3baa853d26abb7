"""A batched z-buffer in torch: exact, differentiable in nothing, the same code on CPU and GPU.

Every triangle's bounding box is enumerated; a pixel centre inside (top-left rule not needed: ties go to the lower
index) competes with its perspective-correct depth packed above the triangle's index, and the least wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_NEAR = 0.05
_EMPTY = torch.iinfo(torch.int64).max
_CHUNK = 4_000_000


@dataclass
class Raster:
    """face (B,H,W) int64, −1 where nothing is; depth (B,H,W) metres, inf there; barycentric (B,H,W,3)."""

    face: Tensor
    depth: Tensor
    barycentric: Tensor


def rasterize(vertices: Tensor, faces: Tensor, K: Tensor, size: tuple[int, int], *, cull: bool = False) -> Raster:
    """Camera-frame vertices (B,V,3), faces (F,3), K (B,3,3), size (height, width) → what each pixel centre sees.

    A triangle with a corner nearer than 5 cm is left out. ``cull`` leaves out those that face away (counter-clockwise
    outward faces), which changes nothing on closed meshes and saves half of the time.
    """
    height, width = size
    batch = len(vertices)
    depth_first = vertices[..., 2].clamp_min(1e-6)
    projected = vertices @ K.transpose(-1, -2)
    pixels = projected[..., :2] / depth_first[..., None]
    corners = pixels[:, faces] - 0.5
    inverse = (1 / depth_first)[:, faces]
    a, b, c = corners.unbind(2)
    area = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    low = corners.amin(2).ceil().clamp_min(0)
    high = torch.minimum(corners.amax(2).floor(), corners.new_tensor([width - 1, height - 1]))
    span = (high - low + 1).clamp_min(0)
    use = (vertices[..., 2] > _NEAR)[:, faces].all(2) & (area.abs() > 1e-12) & (span.amin(-1) > 0)
    if cull:
        use &= area < 0
    image, face = use.nonzero(as_tuple=True)
    corner, extent = low[image, face], span[image, face].int()
    planes = _planes(corner, corners[image, face], inverse[image, face], area[image, face])
    first = ((image * height + corner[:, 1].long()) * width + corner[:, 0].long()).int()
    buffer = torch.full((batch * height * width,), _EMPTY, dtype=torch.int64, device=vertices.device)
    for start, stop in _chunks(extent[:, 0] * extent[:, 1]):
        part = slice(start, stop)
        _splat(buffer, planes[part], face[part], first[part], extent[part], width)
    seen = torch.where(buffer != _EMPTY, buffer & 0xFFFFFFFF, -1).view(batch, height, width)
    return _locate(seen, vertices, faces, K)


def _planes(corner: Tensor, corners: Tensor, inverse: Tensor, area: Tensor) -> Tensor:
    """What is linear over a triangle (T,12): three edge weights and the inverse depth, at the first pixel of its
    bounding box, then their steps in x and in y. Small offsets from there keep float32 exact enough."""
    start = _edge_weights(corner[:, 0], corner[:, 1], corners, area)
    edge = corners.roll(-2, -2) - corners.roll(-1, -2)
    step_x, step_y = -edge[..., 1] / area[:, None], edge[..., 0] / area[:, None]
    parts = [(weights, (weights * inverse).sum(-1, keepdim=True)) for weights in (start, step_x, step_y)]
    return torch.cat([value for pair in parts for value in pair], -1)


def _splat(buffer: Tensor, planes: Tensor, face: Tensor, first: Tensor, extent: Tensor, width: int) -> None:
    """Let every pixel of every bounding box compete: ``first`` is a box's first pixel in the flat ``buffer``."""
    columns, rows = extent.unbind(-1)
    boxes = columns * rows
    numbers = torch.arange(len(boxes), dtype=torch.int32, device=boxes.device)
    owner = torch.repeat_interleave(numbers, boxes, output_size=int(boxes.sum()))
    begun = (boxes.cumsum(0) - boxes).int()
    place = torch.arange(len(owner), dtype=torch.int32, device=boxes.device) - begun[owner]
    y = torch.div(place, columns[owner], rounding_mode="floor")
    x = place - y * columns[owner]
    start, step_x, step_y = planes[owner].unflatten(-1, (3, 4)).unbind(1)
    values = torch.addcmul(torch.addcmul(start, step_x, x[:, None].to(start.dtype)), step_y, y[:, None].to(start.dtype))
    inside = (values[:, :3].amin(-1) >= 0).nonzero()[:, 0]
    owner = owner[inside]
    # The bits of a positive float order as the float does.
    bits = (1 / values[inside, 3]).float().view(torch.int32).long()
    pixel = first[owner] + y[inside] * width + x[inside]
    buffer.scatter_reduce_(0, pixel.long(), (bits << 32) | face[owner], "amin")


def _edge_weights(x: Tensor, y: Tensor, corners: Tensor, area: Tensor) -> Tensor:
    """Screen-space barycentric weights (...,3) of pixels x, y (...) in triangles (...,3,2) of signed double area."""
    following, after = corners.roll(-1, -2), corners.roll(-2, -2)
    dx, dy = after - following, torch.stack([x, y], -1)[..., None, :] - following
    return (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]) / area[..., None]


def _locate(face: Tensor, vertices: Tensor, faces: Tensor, K: Tensor) -> Raster:
    """Where the ray of every covered pixel meets its triangle: perspective-correct weights and depth.

    With corners a, b, c the ray d has weights in proportion to d·(b×c), d·(c×a), d·(a×b). In double precision, on
    covered pixels alone: projected corners in float32 would cost micrometres, and most pixels show nothing.
    """
    hit = (face >= 0).nonzero(as_tuple=True)
    image, y, x = hit
    corners = vertices[image[:, None], faces[face[hit]]].double()
    pixel = torch.stack([x + 0.5, y + 0.5, torch.ones_like(x)], -1).double()
    ray = (torch.linalg.inv(K.double())[image] @ pixel[..., None])[..., 0]
    normals = torch.linalg.cross(corners.roll(-1, -2), corners.roll(-2, -2))
    weights = (normals * ray[:, None]).sum(-1)
    total = weights.sum(-1, keepdim=True)
    # Slivers decided in float32 may miss the ray by a rounding; the weights stay those of a point on the triangle.
    weights = (weights / torch.where(total == 0, 1, total)).clamp_min(1e-12)
    weights = weights / weights.sum(-1, keepdim=True)
    barycentric = vertices.new_zeros(*face.shape, 3)
    depth = vertices.new_full(face.shape, torch.inf)
    barycentric[hit] = weights.to(vertices.dtype)
    depth[hit] = (weights * corners[..., 2]).sum(-1).to(vertices.dtype)
    return Raster(face, depth, barycentric)


def _chunks(boxes: Tensor) -> list[tuple[int, int]]:
    """Ranges of triangles whose bounding boxes together hold at most a few million pixels."""
    if not len(boxes):
        return []
    part = torch.div(boxes.cumsum(0) - 1, _CHUNK, rounding_mode="floor")
    starts = [0, *((part[1:] != part[:-1]).nonzero()[:, 0] + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(boxes)], strict=True))


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Outward unit normals (B,V,3), area-weighted over the faces of a vertex."""
    a, b, c = vertices[:, faces].unbind(2)
    normal = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(1, faces[:, corner], normal)
    return F.normalize(total, dim=-1)


def interpolate(raster: Raster, attributes: Tensor, faces: Tensor) -> Tensor:
    """Per-vertex attributes (B,V,C) or (V,C) → (B,H,W,C) at the visible surface; 0 where nothing is."""
    attributes = attributes.expand(len(raster.face), *attributes.shape[-2:])
    hit = (raster.face >= 0).nonzero(as_tuple=True)
    values = attributes[hit[0][:, None], faces[raster.face[hit]]]
    surface = attributes.new_zeros(*raster.face.shape, attributes.shape[-1])
    surface[hit] = (values * raster.barycentric[hit][..., None]).sum(-2)
    return surface


def shade(normals: Tensor, light: Tensor, ambient: Tensor | float = 0.45) -> Tensor:
    """Lambert: normals (B,H,W,3), direction to the light (B,3) → brightness (B,H,W,1) in [ambient, 1]."""
    cosine = (F.normalize(normals, dim=-1) * F.normalize(light, dim=-1)[:, None, None]).sum(-1, keepdim=True)
    if isinstance(ambient, Tensor):
        ambient = ambient[:, None, None, None]
    return ambient + (1 - ambient) * cosine.clamp_min(0)


def downsample(images: Tensor, factor: int = 2) -> Tensor:
    """(B,H·f,W·f,C) → (B,H,W,C): the mean of f×f sub-pixels; clean edges."""
    batch, height, width, channels = images.shape
    return images.view(batch, height // factor, factor, width // factor, factor, channels).mean((2, 4))
