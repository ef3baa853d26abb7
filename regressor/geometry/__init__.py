"""Cameras and boxes: where a person stands, and which part of the image shows them."""
