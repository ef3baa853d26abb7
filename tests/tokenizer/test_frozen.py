"""A frozen tokenizer: hard, soft and factored decoding agree, and wrong input is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tokenizer import frozen
from tokenizer.engine.errors import UserError
from tokenizer.frozen import load_tokenizer


def ids_of(tokenizer):
    shape = (3, tokenizer.num_tokens)
    return torch.randint(tokenizer.num_codes, shape, generator=torch.Generator().manual_seed(0))


def test_soft_and_factored_tokens_that_are_certain_decode_as_ids(tokenizer):
    ids = ids_of(tokenizer)
    poses = tokenizer.decode(ids)
    soft = tokenizer.decode_soft(F.one_hot(ids, tokenizer.num_codes).float())
    digits = zip(tokenizer.split_ids(ids), tokenizer.levels, strict=True)
    factored = tokenizer.decode_factored([F.one_hot(digit, level).float() for digit, level in digits])
    torch.testing.assert_close(soft, poses, atol=1e-5, rtol=0)
    torch.testing.assert_close(factored, poses, atol=1e-5, rtol=0)


def test_it_stays_in_evaluation_mode_without_gradients(tokenizer):
    assert not tokenizer.train().training
    assert not any(parameter.requires_grad for parameter in tokenizer.parameters())


def test_wrong_ids_are_refused(tokenizer):
    ids = ids_of(tokenizer)
    for wrong, message in ((ids.float(), "type"), (ids[:, 1:], "shape"), (ids + tokenizer.num_codes, "range")):
        with pytest.raises(UserError, match=message):
            tokenizer.decode(wrong)


def test_without_a_path_the_shipped_one_is_read(tokenizer_file, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "SHIPPED", tokenizer_file)
    assert load_tokenizer().digest == tokenizer.digest
    monkeypatch.setattr(frozen, "SHIPPED", tmp_path / "none.h5")
    with pytest.raises(UserError, match=r"No tokenizer ships with this package.*make weights"):
        load_tokenizer()
