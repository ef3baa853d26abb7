"""One paragraph of plain words about a file of ours."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from ..artifact import FORMAT, Artifact, read_artifact
from ..engine.errors import fail
from ..engine.files.file_kinds import kind_of
from ..engine.files.hdf5 import format_of
from ..mocap.datasets import dataset_of
from ..mocap.still_joints import still_notes
from ..mocap.store import FORMAT as POSES
from ..mocap.store import PoseStore, open_store

_MOST_SHOWN = 20


def describe(path: str | Path) -> str:
    """Describe the content of an exported tokenizer or a pose store. Raise ``UserError`` for any other file."""
    path = Path(path)
    if not path.exists():
        raise fail(f"No file at {path}", expected="an exported tokenizer or a pose store")
    file_format = format_of(path)
    if file_format not in (FORMAT, POSES):
        raise fail(
            f"`inspect` does not know {path}", got=kind_of(path), expected="an exported tokenizer or a pose store"
        )
    return _tokenizer(read_artifact(path)) if file_format == FORMAT else _store(open_store(path))


def _tokenizer(artifact: Artifact) -> str:
    quantizer, network = artifact.tokenizer.quantizer, artifact.config.network
    bits = quantizer.num_tokens * math.log2(quantizer.num_codes)
    weights = sum(p.numel() for p in artifact.tokenizer.parameters())
    metrics = artifact.provenance.get("metrics", {})
    lines = [
        f"tokenizer   preset {artifact.config.preset}, seed {artifact.config.seed}",
        f"tokens      {quantizer.num_tokens} × {quantizer.num_codes} codes ({quantizer.dim} dims): {bits:.0f} bits",
        f"quantizer   {artifact.config.quantizer.kind}, levels {' × '.join(map(str, quantizer.levels))}",
        f"network     {network.kind}, width {network.width}, 2 × {network.blocks} blocks, {weights:,} weights",
        f"file        {artifact.num_bytes:,} bytes, sha256 {artifact.digest}",
        *(
            f"{name:11s} {artifact.provenance.get(name)}"
            for name in ("package", "commit", "created", "poses_digest", "weights")
        ),
        *(f"{name:18s} {value:.4g}" for name, value in metrics.items()),
        *_measured(artifact.provenance.get("figures")),
    ]
    card = artifact.provenance.get("card")
    return "\n".join([*lines, "", card.rstrip()] if isinstance(card, str) else lines)


def _measured(figures: object) -> list[str]:
    """Return lines for the figures of ``evaluate`` that a file carries."""
    if not isinstance(figures, dict):
        return []
    numbers = [f"  {name:28s} {value:.4g}" for name, value in figures.items() if isinstance(value, float)]
    return [f"measured    on split {figures.get('split')}", *numbers, f"protocol    {figures.get('protocol')}"]


def _store(store: PoseStore) -> str:
    store.check()
    lines = [f"pose store  version {store.version}, {len(store.sources)} sources, digest {store.digest}"]
    for split in sorted({source.split for source in store.sources}):
        chosen = [source for source in store.sources if source.split == split]
        lines.append(f"{split:11s} {len(chosen):6d} clips {sum(source.frames for source in chosen):10,d} poses")
    poses = Counter[tuple[str, str]]()
    for source in store.sources:
        poses[dataset_of(source.name), source.split] += source.frames
    lines += [f"data set    {name}: {count:,} poses in {split}" for (name, split), count in sorted(poses.items())]
    lines += [f"test        {source.name}" for source in store.sources if source.split == "test"][:_MOST_SHOWN]
    lines += [f"note        {note}" for note in (store.note, *still_notes(store, None)) if note]
    return "\n".join(lines)
