"""Synthetic people: pose store → rendered, annotated crops."""
