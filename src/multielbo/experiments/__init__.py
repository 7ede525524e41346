"""Experiments: one model on one data set, from its settings to its numbers and its record."""
