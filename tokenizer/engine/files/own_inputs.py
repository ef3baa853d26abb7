"""A command never writes over what it reads."""

from __future__ import annotations

from pathlib import Path

from ..errors import fail


def refuse_own_inputs(out: str | Path | None, *inputs: str | Path | None) -> None:
    """Raise ``UserError`` if ``out`` is one of the ``inputs``, under whatever name or link."""
    if out is None:
        return
    out = Path(out)
    for source in inputs:
        if source is not None and (
            out.resolve() == Path(source).resolve() or (out.exists() and _same(out, Path(source)))
        ):
            got = "an output that is also an input"
            raise fail(f"{out} would be written over", got=got, next_step="Name another file with --out")


def _same(a: Path, b: Path) -> bool:
    return b.exists() and a.samefile(b)
