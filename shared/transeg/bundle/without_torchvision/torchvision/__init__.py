"""What MONAI Label imports of torchvision when it starts, and calls only to dump pictures."""
