"""Masks and synthetic cases as training data for nnU-Net and MONAI: `transeg export`."""
