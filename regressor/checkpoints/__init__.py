"""Files of weights: ours, released checkpoints, backbones."""
