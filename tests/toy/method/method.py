"""What tools may ask about this method."""

from transeg.method import Method

METHOD = Method(
    bundle="knee_mri_toy_segmentation",
    summary="squares in noise",
    lists={"training": "validation", "training_absence": None},
)
