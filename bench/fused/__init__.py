"""Draws fused with what reads them: kernels of one file each, made of `rsample.kernels.device`."""
