"""The network: an image crop → features → token logits → frozen decoder → SMPL parameters."""
