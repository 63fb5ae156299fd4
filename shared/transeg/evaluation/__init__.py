"""Scores of written masks with intervals and baselines: `transeg evaluate`, and the evaluation of every bundle."""
