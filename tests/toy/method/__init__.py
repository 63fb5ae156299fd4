"""A toy: supervised segmentation of slices with the lesion."""
