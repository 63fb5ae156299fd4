"""What tools may ask about this method."""

from transeg.method import Demo, Method, Scale

METHOD = Method(
    bundle="brain_mri_pathogan_segmentation",
    summary="tumours from slice-level labels",
    lists={"training": "validation", "training_absence": "validation_absence"},
    optional=frozenset({"validation", "validation_absence"}),  # the last weights are kept
    extractor="transeg.methods.pathogan.slices.ImageLevelSlices",
    uses_masks=False,
    phantoms="brain",
    prepare=("data_prep.brats_slices",),
    demo=Demo(
        "transeg.methods.pathogan.demo.pathogan_demo",
        "demo_pathogan",
        full=Scale(40, 9),
        quick=Scale(10, 1, batches=4, phantoms=("--shape", "60,60,39", "--spacing", "4")),
    ),
)
