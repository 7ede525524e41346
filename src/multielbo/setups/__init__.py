"""What each data set brings, one small file each: its networks, likelihoods and their weights."""
