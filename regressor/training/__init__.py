"""Training and fine-tuning of the regressor."""
