"""Stage 2: from an image crop to pose tokens to a SMPL body."""
