"""What tools may ask about this method."""

from transeg.method import Demo, Method

METHOD = Method(
    bundle="brain_mri_genseg_segmentation",
    summary="brain tumours from few masks",
    lists={"training": "validation", "training_absence": "validation_absence"},
    optional=frozenset({"validation_absence"}),
    extractor="transeg.methods.genseg.slices.LesionSlices",
    without_masks=(
        "GenSeg learns from the masks of some cases: give a few that show the lesion a label, or use "
        "brain_mri_pathogan_segmentation, which learns from image-level labels alone"
    ),
    phantoms="brain",
    demo=Demo("transeg.methods.genseg.demo.brain_demo", "demo", 30, 12, takes_labelled=True),
)
