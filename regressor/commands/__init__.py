"""The program pose-regressor, one file a family of commands."""
