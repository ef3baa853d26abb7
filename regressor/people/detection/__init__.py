"""2D keypoints of people in photographs, from the detector or from files."""
