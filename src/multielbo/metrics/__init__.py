"""What is measured of a trained model, each metric on top of a pure function."""
