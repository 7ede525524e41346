"""The papers' other networks, one file for each family."""
