"""Data of stage 2: one file a format, one common Sample."""
