"""Evaluation of predictions: metrics, intervals, calibration, thresholds, subgroups."""
