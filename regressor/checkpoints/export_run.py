"""From the folder of a training run to the one file that a regressor is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tokenizer import Body, FrozenTokenizer
from tokenizer.engine.config import from_dict
from tokenizer.engine.training.run import RunFolder

from ..config import RegressorConfig
from ..datasets.mixtures import Mixture
from ..network.model import build_regressor
from .regressor_file import load_strictly, save_regressor

Export = Literal["best", "last"]


def export_run(path: Path, out: Path, mixture: Mixture, tokenizer: FrozenTokenizer, body: Body, export: Export) -> Path:
    """Write ``out`` with averaged weights from the newest checkpoint of the run at ``path``: those of the best
    validation so far, or the last. Raises ``UserError`` where there is no run."""
    run = RunFolder.open(path)
    assert run.state is not None
    chosen = run.state.get("best") if export == "best" else None
    if chosen is None:
        found = [record for record in run.metrics() if any(name.startswith("val_") for name in record)]
        figures = {name: value for name, value in found[-1].items() if name.startswith("val_")}
        export, chosen = "last", {**run.state, "figures": figures}
    config = from_dict(RegressorConfig, run.config["regressor"])
    network = build_regressor(config, tokenizer, empty=True).network
    load_strictly(network, chosen["average"], what="the checkpoint", assign=True)
    provenance = {
        "crops": mixture.digest,
        "crops_attributes": mixture.attributes,
        "body": body.kind,
        "steps": run.state["step"],
        "metrics": chosen["figures"],
        "weights": f"{export}, step {chosen['step']}",
    }
    provenance |= {name: run.config[name] for name in ("start", "backbone") if name in run.config}
    return save_regressor(out, network, config, tokenizer, provenance)
