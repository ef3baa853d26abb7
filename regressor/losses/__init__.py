"""What a prediction is compared with: loss terms, TALS and its calibration."""
