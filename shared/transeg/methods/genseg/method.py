"""What tools may ask about this method."""

from transeg.method import Demo, Method, Scale
from transeg.methods.genseg import WITHOUT_MASKS

METHOD = Method(
    bundle="brain_mri_genseg_segmentation",
    summary="brain tumours from few masks",
    lists={"training": "validation", "training_absence": "validation_absence"},
    optional=frozenset({"validation_absence"}),
    extractor="transeg.methods.genseg.slices.LesionSlices",
    without_masks=WITHOUT_MASKS,
    phantoms="brain",
    prepare=("data_prep.brats", "--min-brain", "0.02"),
    demo=Demo(
        "transeg.methods.genseg.demo.brain_demo",
        "demo",
        full=Scale(30, 12),
        quick=Scale(10, 1, batches=4, phantoms=("--shape", "60,60,39", "--spacing", "4")),
        takes_labelled=True,
    ),
)
