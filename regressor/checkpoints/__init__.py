"""Files of trained weights: the exported regressor, released checkpoints, backbones.

Checkpoints of a training in progress are written by ``tokenizer.engine.training.checkpoint``.
"""
