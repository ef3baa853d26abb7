"""Pictures of a training: they show what they say, cost little, and never stop or change it."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.commands.cli import main
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.mixtures import Mixture
from regressor.datasets.synthetic.contact_sheet import draw_keypoints
from regressor.export.overlay import both_sides
from regressor.training.panels import Panels, draw_panels
from regressor.training.train import train_regressor
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state
from tokenizer.engine.training.run import RunFolder

SIZE = 48


@pytest.fixture(scope="module")
def crops(crops_file):
    return open_crops(crops_file)


def squares(picture, number, size=SIZE):
    """The crop, the overlay and the side view of one person."""
    row, column = divmod(number, 2)
    strip = picture[row * size : (row + 1) * size, 3 * column * size : 3 * (column + 1) * size]
    return np.split(strip, 3, axis=1)


def test_three_squares_a_person(regressor, annotated_people, open_body):
    people = annotated_people(3)
    people["keypoints_2d"][1, :, 2] = 0
    people["has_body_pose"][2] = False
    before = {name: values.clone() for name, values in people.items()}
    picture = draw_panels(regressor.eval(), people, open_body, size=SIZE)
    assert picture.shape == (2 * SIZE, 6 * SIZE, 3) and picture.dtype == np.uint8
    assert all(torch.equal(values, before[name]) for name, values in people.items())
    crop, over, _ = squares(picture, 0)
    wanted = cv2.resize(people["image"][0].permute(1, 2, 0).numpy(), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    assert np.array_equal(crop, wanted) and not np.array_equal(over, crop)
    assert (picture[SIZE:, 3 * SIZE :] == 255).all(), "an odd number leaves white"

    def of_colour(square, predicted):
        """Pixels of the blue suit of what is predicted, or of the golden one of what is true."""
        red, blue = square[..., 0].astype(int), square[..., 2].astype(int)
        return ((blue - red) > 25).sum() if predicted else ((red - blue) > 70).sum()

    sides = [squares(picture, number)[2] for number in range(3)]
    assert all(of_colour(side, predicted=True) > 30 for side in sides), "everybody is predicted"
    assert of_colour(sides[0], predicted=False) > 5 and of_colour(sides[2], predicted=False) == 0, "not all are known"


def test_keypoints_without_confidence_are_no_dots():
    points = np.zeros((44, 3), np.float32)
    points[0] = (0.25, -0.25, 1)
    points[1:, :2] = np.nan
    image = np.zeros((40, 40, 3), np.uint8)
    draw_keypoints(image, points)
    ys, xs = image.any(-1).nonzero()
    assert abs(xs.mean() - 29.5) < 0.5 and abs(ys.mean() - 9.5) < 0.5, "0.75 and 0.25 of the edge"


def test_sides_show_depth(open_body):
    """What the front hides: a body that leans towards the camera is off to one side."""
    upright = open_body.vertices(torch.eye(3).expand(1, 21, 3, 3), root=torch.diag(torch.tensor([1.0, -1.0, -1.0])))
    upright = upright - upright.mean(1, keepdim=True)
    nearer = upright + torch.tensor([0.0, 0.0, -0.5])
    (one,), (other,) = (both_sides(v, v, open_body, 64, known=[False]) for v in (upright, nearer))
    centres = [(picture != 236).any(-1).nonzero()[1].mean() for picture in (one, other)]
    assert abs(centres[0] - 31.5) < 2 and centres[1] < centres[0] - 8


def test_numbers_that_are_none_are_not_painted(regressor, annotated_people, open_body):
    torch.nn.init.constant_(regressor.network.shape.weight, float("nan"))
    people = {**annotated_people(1), "keypoints_2d": torch.zeros(1, 44, 3), "has_body_pose": torch.tensor([False])}
    crop, over, side = squares(draw_panels(regressor.eval(), people, open_body, size=SIZE), 0)
    assert np.array_equal(crop, over) and len(np.unique(side)) == 1


def test_eight_people_take_little_time(regressor, annotated_people, open_body):
    people = annotated_people(8)
    began = time.process_time()
    draw_panels(regressor.eval(), people, open_body)
    assert time.process_time() - began < 4, "half a second on an idle core"


def test_a_training_leaves_them_and_is_not_changed(tmp_path, crops, tokenizer, tiny_config, open_body):
    runs = {}
    for count in (3, 0):
        config = replace(tiny_config, pictures=count)
        runs[count] = train_regressor(crops, tokenizer, tmp_path / str(count), config, open_body)
    names = sorted(path.name for path in (tmp_path / "3" / "pictures").iterdir())
    assert names == ["step-000004.jpg", "step-000008.jpg"]
    assert cv2.imread(str(tmp_path / "3" / "pictures" / names[0])).shape == (320, 960, 3)
    assert not (tmp_path / "0" / "pictures").exists()
    with_pictures, without = (load_state(path)["network"] for path in runs.values())
    assert all(torch.equal(with_pictures[name], without[name]) for name in without)


def test_people_are_spread_over_the_split(crops):
    sample = crops.sample(np.arange(5), "val")
    for count, chosen in ((3, [0, 2, 4]), (1, [0]), (99, [0, 1, 2, 3, 4])):
        assert torch.equal(Panels(Mixture.of(crops), count).sample["image"], sample["image"][chosen])
    with pytest.raises(UserError, match="-1"):
        Panels(Mixture.of(crops), -1)


def test_a_picture_that_cannot_be_written_is_noted(tmp_path, crops, regressor, open_body):
    run = RunFolder.start(tmp_path / "run", {})
    (run.path / "pictures").write_text("in the way")
    Panels(Mixture.of(crops), 2).save(run, 7, regressor.eval(), open_body)
    assert "No picture of step 7" in (run.path / "log.txt").read_text()


def test_tensorboard_gets_the_same_picture(tmp_path, crops, regressor, open_body):
    shown = []

    class Writer:
        def add_image(self, tag, image, step, dataformats):
            shown.append((tag, image.shape, step, dataformats))

    run = RunFolder.start(tmp_path / "run", {})
    run._tensorboard = Writer()
    Panels(Mixture.of(crops), 2).save(run, 7, regressor.eval(), open_body)
    assert shown == [("val/people", (160, 960, 3), 7, "HWC")]


def test_the_command_line_turns_them_off(tmp_path, crops, tokenizer_file):
    done = CliRunner().invoke(
        main,
        [
            "train",
            str(crops.path),
            "--tokenizer",
            str(tokenizer_file),
            "--run",
            str(tmp_path / "run"),
            "--no-pictures",
            "--set",
            "image_size=32",
            "--set",
            "optim.steps=1",
            "--set",
            "optim.batch=4",
            "--device",
            "cpu",
        ],
    )
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "run" / "pictures").exists()
