"""Readers of mocap files, the embedded pose source and the pose store."""
