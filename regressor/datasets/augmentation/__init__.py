"""Changes of training crops: mirror, close crops, occluders, colour."""
