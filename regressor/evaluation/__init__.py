"""Scoring: protocols, results, comparison, robustness."""
