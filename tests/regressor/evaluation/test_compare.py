"""Comparison of two results: what is there is found, what does not match is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from results import report_of

from regressor.commands.cli import main
from regressor.evaluation.compare import compare_files, read_result
from regressor.evaluation.evaluate_2d import FORMAT as FORMAT_2D
from tokenizer.engine.errors import UserError


@pytest.fixture
def written(tmp_path):
    def write(name, errors, **changes):
        (tmp_path / name).write_text(report_of(errors, **changes).to_json())
        return tmp_path / name

    return write


def test_a_comparison_finds_what_is_there(written):
    draw = np.random.default_rng(0)
    errors = draw.gamma(2.0, 30.0, 200)
    a = written("a.json", errors.tolist())
    b = written("b.json", (errors + 1 + draw.normal(0, 2, 200)).tolist())
    comparison = compare_files(a, b)
    assert comparison.tests["mpjpe_mm"].difference == pytest.approx(1.0, abs=0.5)
    assert comparison.tests["mpjpe_mm"].p_value < 0.01 and comparison.tests["mpjpe_mm"].low > 0
    assert compare_files(a, a).tests["pve_mm"].p_value == 1.0
    done = CliRunner().invoke(main, ["compare", str(a), str(b), "--json", str(a.with_name("c.json"))])
    assert done.exit_code == 0 and "| mpjpe |" in done.output and "sign-flip" in done.output
    assert json.loads(a.with_name("c.json").read_text())["metrics"]["mpjpe_mm"]["p_value"] < 0.01


def test_sequences_count_as_wholes(written):
    runs = ["x"] * 50 + ["y"] * 50
    a = written("a.json", [10.0] * 100, sequences=runs)
    b = written("b.json", [11.0] * 100, sequences=runs)
    assert compare_files(a, b).tests["mpjpe_mm"].p_value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "other", [{"protocol_name": "emdb-reference"}, {"crops": "def"}, {"split": "val"}, {"sequences": ["x", "y"]}]
)
def test_other_samples_or_rules_are_not_compared(written, other):
    a, b = written("a.json", [1.0, 2.0]), written("b.json", [1.0, 2.0], **other)
    with pytest.raises(UserError, match="cannot be compared"):
        compare_files(a, b)


def test_files_that_are_no_results_are_told(tmp_path, written):
    good = written("good.json", [1.0, 2.0])
    with pytest.raises(UserError, match="has no row 'mean'"):
        compare_files(good, good, row_b="mean")
    (tmp_path / "2d.json").write_text(json.dumps({"format": FORMAT_2D, "format_version": 1}))
    with pytest.raises(UserError, match="errors of 2D keypoints, which are not compared"):
        compare_files(tmp_path / "2d.json", good)
    newer = json.loads(good.read_text()) | {"format_version": 99}
    (tmp_path / "newer.json").write_text(json.dumps(newer))
    damaged = json.loads(good.read_text())
    damaged["per_sample_mm"]["regressor, tokens"]["mpjpe_mm"].pop()
    (tmp_path / "damaged.json").write_text(json.dumps(damaged))
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "list.json").write_text("[1]")
    for name, says in (("newer", "newer version"), ("text", "Cannot read"), ("list", "no result"), ("gone", "Cannot")):
        with pytest.raises(UserError, match=says):
            read_result(tmp_path / f"{name}.json")
    with pytest.raises(UserError, match="damaged"):
        compare_files(good, tmp_path / "damaged.json")
