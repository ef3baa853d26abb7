"""The gradients of one training step, of a whole batch or of the share of one process, at once or in parts."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from tokenizer import Body, FrozenTokenizer
from tokenizer.engine.distributed import rank, sum_over_ranks, without_exchange, world_size
from tokenizer.engine.training.precision import allow_tf32
from tokenizer.engine.training.scaling import LossScale

from ..config import RegressorConfig
from ..datasets.made_up import made_up_sample
from ..losses.terms import regression_loss, weight_sums
from ..network.model import Regressor, evidence_of
from ..network.vit import part_of_batch
from ..sample import Sample, num_samples, take, to_device


def seed_of(config: RegressorConfig, step: int) -> int:
    """Of every random draw of a step."""
    return config.seed * 1_000_003 + step


def forward_backward(
    forward: nn.Module,
    batch: Sample,
    body: Body,
    tokenizer: FrozenTokenizer,
    config: RegressorConfig,
    step: int,
    scale: LossScale,
) -> dict[str, Tensor]:
    """Compute the gradients of the whole batch, of which ``batch`` is the part of this process.

    Return the loss terms of that part. ``forward``: a ``Regressor``, data-parallel or not. Gradients are multiplied by
    ``scale``, terms are not.
    """
    forward.zero_grad(set_to_none=True)
    sums = weight_sums(batch, config.loss)
    totals = dict(zip(sums, sum_over_ranks(torch.stack(list(sums.values())).float()), strict=True))
    size = num_samples(batch) // config.optim.accumulate
    terms: dict[str, Tensor] = {}
    for number in range(config.optim.accumulate):
        samples = take(batch, slice(number * size, (number + 1) * size))
        more = number + 1 < config.optim.accumulate
        place = rank() * num_samples(batch) + number * size
        torch.manual_seed(seed_of(config, step))
        with part_of_batch(place, config.optim.batch), without_exchange(forward) if more else nullcontext():
            device = samples["image"].device
            with allow_tf32(device):
                prediction = forward(evidence_of(samples), box=samples["box"], K=samples["K"], body=body)
            part = regression_loss(prediction, samples, body, tokenizer, config.loss, totals=totals)
            with allow_tf32(device):
                # The shares of all processes add up, where DDP takes the mean.
                scale.scale(world_size() * torch.stack(list(part.values())).sum()).backward()
        terms = {name: terms.get(name, 0) + term.detach() for name, term in part.items()}
    return terms


def unused_parameters(regressor: Regressor, body: Body, tokenizer: FrozenTokenizer) -> dict[str, nn.Parameter]:
    """Trained parameters that no term of the loss reaches, by name: a head whose terms all have weight 0.

    What a term reaches does not depend on the samples: where nothing is known, or a block is left out, gradients are
    zero, not absent. So one made-up sample tells, in eval mode, which leaves statistics alone.
    """
    config = regressor.config
    named = [(name, weight) for name, weight in regressor.network.named_parameters() if weight.requires_grad]
    training = [module for module in regressor.modules() if module.training]
    regressor.eval()
    sample = to_device(made_up_sample(1, config.image_size), named[0][1].device)
    prediction = regressor(evidence_of(sample), box=sample["box"], K=sample["K"], body=body)
    loss = torch.stack(list(regression_loss(prediction, sample, body, tokenizer, config.loss).values())).sum()
    gradients = torch.autograd.grad(loss, [weight for _, weight in named], allow_unused=True)
    for module in training:
        module.training = True
    return {name: weight for (name, weight), gradient in zip(named, gradients) if gradient is None}
