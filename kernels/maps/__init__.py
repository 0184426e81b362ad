"""One file a distribution: the map of its draw, as torch code and as device functions."""
