"""The papers' models, one small file each: a model is a pair of an aggregator and an objective."""
