"""Presets and limits of stage 1's settings."""

from __future__ import annotations

import pytest

from tokenizer.config import PRESETS, LossConfig, OptimConfig, TokenizerConfig, preset
from tokenizer.engine.errors import UserError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_bears_its_own_name(name):
    assert preset(name).preset == name


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(UserError, match="compact-vq"):
        preset("compcat")


def test_the_paper_preset_is_the_published_vocabulary():
    quantizer = preset("paper").quantizer
    assert (quantizer.num_tokens, quantizer.num_codes, quantizer.dim) == (160, 2048, 256)


def test_numbers_too_small_to_train_by_are_refused():
    with pytest.raises(UserError, match="steps"):
        OptimConfig(steps=0)
    with pytest.raises(UserError, match="validate_every"):
        TokenizerConfig(validate_every=0)
    with pytest.raises(UserError, match=r"loss\.consistency_every is too small"):
        LossConfig(consistency_every=0)
