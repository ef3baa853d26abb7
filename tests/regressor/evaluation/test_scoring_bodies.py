"""Bodies an evaluation scores with: found by gender in one folder; whatever would score by another ruler is refused."""

from __future__ import annotations

import pytest
import torch
from body_models import write_model
from click.testing import CliRunner

from regressor.checkpoints.regressor_file import check_body, save_regressor
from regressor.commands.cli import main
from regressor.datasets.crop_dataset import open_crops
from regressor.evaluation.protocols import check_extra_regressor
from regressor.evaluation.results import Report
from regressor.evaluation.scoring_bodies import load_scoring_bodies
from regressor.evaluation.statistics import clusters
from tokenizer.engine.errors import UserError


def test_one_folder_gives_all_bodies(models, tmp_path):
    bodies = load_scoring_bodies(models)
    assert bodies.predicted.gender == "neutral" and sorted(bodies.true) == ["female", "male", "neutral"]
    ratio = bodies.true["male"].v_template / bodies.predicted.v_template
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.1))
    assert bodies.true["neutral"] is bodies.predicted
    alone = load_scoring_bodies(models / "SMPL_NEUTRAL.npz")
    assert alone.true == {}
    (tmp_path / "f").mkdir()
    write_model(tmp_path / "f" / "SMPL_FEMALE.npz", 0.9)
    loaded = load_scoring_bodies(models / "SMPL_NEUTRAL.npz", tmp_path / "f")
    assert sorted(loaded.true) == ["female", "neutral"]


def test_bodies_that_would_score_wrongly_are_refused(models, tmp_path):
    with pytest.raises(UserError, match=r"neutral body; got .*a male one"):
        load_scoring_bodies(models / "SMPL_MALE.npz")
    with pytest.raises(UserError, match="which is no folder"):
        load_scoring_bodies(models, models / "SMPL_MALE.npz")
    with pytest.raises(UserError, match="No female body model"):
        load_scoring_bodies(models, tmp_path)
    write_model(tmp_path / "SMPLH_FEMALE.npz", joints=52)
    with pytest.raises(UserError, match=r"another kind.*smplh; expected smpl"):
        load_scoring_bodies(models, tmp_path)
    body = load_scoring_bodies(models).predicted
    with pytest.raises(UserError, match=r"SMPL_to_J19\.pkl.*--extra-regressor"):
        check_extra_regressor("3dpw-reference", body, None)
    check_extra_regressor("3dpw-reference", body, "given")
    check_extra_regressor("emdb-reference", body, None)


def test_a_regressor_of_another_body_is_refused(models, open_body):
    trained = {"body": "smpl"}
    with pytest.raises(UserError, match=r"another body; got --body of kind 'open'.*folder of all genders"):
        check_body("r.pt", trained, open_body.kind)
    check_body("r.pt", trained, load_scoring_bodies(models).predicted.kind)


def test_bodies_boxes_and_data_stand_beside_the_figures(
    models, tmp_path, crops_file, regressor, tiny_config, tokenizer, tokenizer_file
):
    file = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {"body": "smpl"})
    arguments = ["evaluate", str(file), str(crops_file), "--tokenizer", str(tokenizer_file), "--protocol", "emdb"]
    done = CliRunner().invoke(main, [*arguments, "--body", str(models)])
    assert done.exit_code == 0, done.output
    assert "Bodies: smpl; predicted neutral; true female, male, neutral." in done.output
    assert "Boxes: those of the annotation." in done.output
    assert f"6 samples of synthetic people, suit ({crops_file}), split test." in done.output
    assert "published for EMDB 1, not measured here" in done.output
    wrong = CliRunner().invoke(main, arguments)
    assert wrong.exit_code == 2 and wrong.output.count("error") == 1 and "another body" in wrong.output
    assert open_crops(crops_file).count("test") == 6


def test_one_sequence_gives_no_false_certainty():
    numbers, drawn = clusters(["a", "a", "b"])
    assert numbers.tolist() == [0, 0, 1] and drawn == "whole sequences"
    assert clusters(None) == (None, "samples")
    assert clusters(["a"] * 3) == (None, "samples of the only sequence, hence too narrow")
    errors = torch.tensor([10.0, 20.0, 60.0])
    about = {"protocol": "", "protocol_name": "synthetic", "samples": 3}
    report = Report(about, {"r": {"mpjpe_mm": errors}}, {"r": errors[:, None]}, ("a",), ["r"], ["x"] * 3)
    low, high = report.intervals["r"]["mpjpe_mm"]
    assert low < 20 < 40 < high
    assert "only sequence" in report.to_dict()["intervals"]


def test_a_run_from_before_mixtures_goes_on(tmp_path, crops_file, tokenizer_file):
    run = tmp_path / "run"
    arguments = ["train", str(crops_file), "--tokenizer", str(tokenizer_file), "--run", str(run), "--resume"]
    run.mkdir()
    (run / "config.json").write_text('{"regressor": {}, "tokenizer": "other", "crops": "other"}')
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and done.output.count("error") == 1
