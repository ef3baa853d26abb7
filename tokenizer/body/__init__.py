"""Bodies and rotations: what both stages share."""
