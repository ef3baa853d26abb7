"""TensorBoard in addition to ``metrics.jsonl``: an extra, imported on request."""

from __future__ import annotations

from typing import Any

from ..errors import fail


def writer_class() -> type[Any]:
    """torch's ``SummaryWriter``. Raises ``UserError`` where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise fail(
            "TensorBoard is not installed",
            next_step="pip install 'pose-token-hmr[tensorboard]', or go without: metrics.jsonl holds the same figures",
        ) from None
    return SummaryWriter


def add_record(writer: Any, record: dict[str, Any]) -> None:
    """Add one record of ``metrics.jsonl`` at its ``step``: ``val_x`` as val/x, all else as train/…; visible at once."""
    for name, value in record.items():
        if name != "step":
            tag = f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"
            writer.add_scalar(tag, value, record["step"])
    writer.flush()
