"""The README's picture: a row a person, tokens as a table whose hue encodes the id."""

from __future__ import annotations

import colorsys

import numpy as np

from pipelines.overview import overview, token_table
from pipelines.pictures import enlarge
from regressor.datasets.crop_store import open_crop_store


def test_tokens_are_cells_in_reading_order():
    table = token_table([0, 9, 3, 3, 1, 5], 10)
    assert table.shape == (320, 320, 3) and table.dtype == np.uint8
    corners = {(row, column): table[row * 160 + 4, column * 64 + 4] for row in range(2) for column in range(5)}
    for number, code in enumerate([0, 9, 3, 3, 1, 5]):
        colour = [round(255 * value) for value in colorsys.hsv_to_rgb(0.085 * code, 0.35, 0.97)]
        assert corners[divmod(number, 5)].tolist() == colour
    assert all((corners[1, column] == 255).all() for column in range(1, 5)), "no token, no colour"
    assert (table[0] == 255).all() and (table[:, :2] == 255).all(), "cells are apart"
    assert np.array_equal(table[:160, 128:192], table[:160, 192:256]), "equal ids look equal"


def test_a_row_is_image_tokens_body_and_side(crops_file, regressor, open_body):
    store = open_crop_store(crops_file)
    picture = overview(store, regressor.eval(), open_body, [4, 1])
    assert picture.shape == (2 * 320 + 28, 4 * 320 + 3 * 28, 3)
    assert (picture[320:348] == 255).all() and (picture[:, 320:348] == 255).all(), "white between rows and parts"
    for row, number in enumerate([4, 1]):
        image = store.sample(np.array([number]), "test")["image"][0].permute(1, 2, 0).numpy()
        assert np.array_equal(picture[row * 348 : row * 348 + 320, :320], enlarge(image, 320))
    side = picture[:320, -320:]
    assert (side[0] == 255).all() and (side < 200).any(), "the body from its side, on white"
