"""What tools may ask about this method."""

from transeg.method import Demo, Method, Scale

METHOD = Method(
    bundle="thigh_mri_muscle_segmentation",
    summary="muscle without masks",
    lists={"training": "validation", "training_absence": None},
    optional=frozenset({"validation"}),  # the last weights are kept
    extractor="transeg.methods.thigh.slices.ThighSlices",
    domain_of_case=True,
    keeps_structures=True,
    phantoms="thigh",
    prepare=("data_prep.thigh",),
    demo=Demo(
        "transeg.methods.thigh.demo.thigh_demo",
        "demo_thigh",
        full=Scale(40, 20),
        quick=Scale(16, 1, batches=4, phantoms=("--shape", "96,48,8", "--spacing", "4,4,7")),
    ),
)
