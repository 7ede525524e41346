"""The scoreboard: published numbers beside MultiVae's and ours, and the papers' claims decided."""
