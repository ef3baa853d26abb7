"""Which loss a configuration trains with, as options of the command line name it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from tokenizer.engine.config import resolve
from tokenizer.engine.errors import fail

from ..config import PUBLISHED_LOSS, PUBLISHED_TALS, LossConfig, RegressorConfig, TalsConfig


def with_loss(
    config: RegressorConfig,
    *,
    form: Literal["preset", "means", "published"] = "preset",
    compat_reference: bool = False,
    tals: str | None = None,
) -> RegressorConfig:
    """``config`` with its own loss, the one of means, or ``PUBLISHED_LOSS`` (as its code has it with
    ``compat_reference``), and with other thresholds.

    The loss of means asks for the tokens of the true pose: its network adds no mean pose to what they decode to.
    ``tals``: ``published``, ``none``, or a JSON file of ``pose-regressor calibrate``. Raises ``UserError`` for a file
    that is none.
    """
    loss = {"preset": config.loss, "means": LossConfig(), "published": PUBLISHED_LOSS}[form]
    if compat_reference:
        loss = replace(PUBLISHED_LOSS, compat_reference=True)
    if tals == "published":
        loss = replace(loss, tals=PUBLISHED_TALS)
    elif tals == "none":
        loss = replace(loss, tals=TalsConfig())
    elif tals is not None:
        thresholds = resolve(RegressorConfig(), file=tals).loss.tals
        if not thresholds.on:
            raise fail(f"{tals} holds no thresholds", next_step="Make one with `pose-regressor calibrate`")
        loss = replace(loss, tals=thresholds)
    if form == "means" and not compat_reference:
        config = replace(config, head=replace(config.head, add_mean=False))
    return replace(config, loss=loss)


def check_tokens(config: RegressorConfig) -> None:
    """Raise ``UserError`` where the loss asks for the tokens of a pose, and the network adds the mean pose to theirs.

    With the right tokens it would be tens of millimetres off.
    """
    if config.head.pose == "tokens" and config.head.add_mean and config.loss.token_weight:
        raise fail(
            "The loss asks for tokens of the pose, and this network adds the mean pose to what they decode to",
            got=f"head.add_mean true, loss.token_weight {config.loss.token_weight:g}",
            next_step="Set head.add_mean=false, or loss.token_weight=0",
        )
