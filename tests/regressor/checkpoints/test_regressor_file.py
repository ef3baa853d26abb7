"""The exported regressor: what comes back, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch

from regressor.checkpoints.regressor_file import load_regressor, save_regressor
from regressor.network.model import normalise
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state, save_state


def predict(regressor, sample):
    with torch.no_grad():
        return regressor.eval()(normalise(sample["image"]), box=sample["box"], K=sample["K"])


def test_exported_weights_come_back(tmp_path, regressor, tiny_config, tokenizer, tokenizer_file, sample):
    path = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {"body": "open"})
    loaded = load_regressor(path, tokenizer=tokenizer_file)
    assert not loaded.training and loaded.config == tiny_config and loaded.provenance["body"] == "open"
    assert torch.equal(predict(loaded, sample).body_pose, predict(regressor, sample).body_pose)


def test_files_that_do_not_fit_get_one_clear_message(tmp_path, regressor, tiny_config, tokenizer):
    from tokenizer.engine.files.state_files import load_state, save_state

    path = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {})
    state = load_state(path)

    def refused(says, **changes):
        save_state(tmp_path / "bad.pt", {**state, **changes})
        with pytest.raises(UserError, match=says):
            load_regressor(tmp_path / "bad.pt", tokenizer=tokenizer)

    refused("another tokenizer", tokenizer="0" * 64)
    refused("no exported regressor", format="other")
    refused("newer version", format_version=99)
    weights = dict(state["network"])
    del weights["mean_betas"]
    refused("missing mean_betas", network=weights)
    refused(r"mean_betas \(3,\), not \(10,\)", network={**state["network"], "mean_betas": torch.zeros(3)})
    refused("unknown extra", network={**state["network"], "extra": torch.zeros(3)})
    (tmp_path / "bad.pt").write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="Cannot read regressor"):
        load_regressor(tmp_path / "bad.pt", tokenizer=tokenizer)
    with pytest.raises(UserError, match="No regressor at"):
        load_regressor(tmp_path / "none.pt", tokenizer=tokenizer)


def test_weights_that_are_not_finite_are_refused(tmp_path, regressor, tiny_config, tokenizer):
    with torch.no_grad():
        next(iter(regressor.network.parameters())).view(-1)[2] = float("nan")
        regressor.network.mean_betas[1] = float("inf")
    path = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {"body": "open"})
    with pytest.raises(UserError, match=r"weights that are not finite; got .*mean_betas"):
        load_regressor(path, tokenizer=tokenizer)


HUGE = {
    "width": {"backbone": {"width": 10**5}},
    "blocks": {"backbone": {"blocks": [10**8, 1, 1]}},
    "layers": {"decoder": {"layers": 10**8}},
    "dim": {"decoder": {"dim": 8 * 10**5}},
    "crops": {"image_size": 32 * 10**5},
}


def test_a_configuration_that_is_larger_than_its_file_takes_nothing(
    tmp_path, regressor, tiny_config, tokenizer, tokenizer_file, measured
):
    path = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {"body": "open"})
    state = load_state(path)
    for name, changes in HUGE.items():
        settings = copy.deepcopy(state["config"])
        for key, value in changes.items():
            settings[key] = {**settings[key], **value} if isinstance(value, dict) else value
        save_state(tmp_path / name, {**state, "config": settings})
    code = f"load_regressor(path, tokenizer={str(tokenizer_file)!r})"
    imports = f"from regressor import load_regressor\nload_regressor({str(path)!r}, tokenizer={str(tokenizer_file)!r})"
    for name, cost in zip(HUGE, measured(imports, code, [tmp_path / name for name in HUGE]), strict=True):
        assert "fit its configuration" in cost["message"], (name, cost)
        assert cost["mib"] < 50 and cost["seconds"] < 2, (name, cost)
