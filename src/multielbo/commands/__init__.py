"""The commands of `multielbo`, one module for each group of them."""
