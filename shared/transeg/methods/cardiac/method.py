"""What tools may ask about this method."""

from transeg.method import Demo, Method, Scale

METHOD = Method(
    bundle="cardiac_ct_mr_segmentation",
    summary="chambers in CT and MR",
    lists={"training_{domain}": "validation_{domain}"},
    extractor="transeg.methods.cardiac.volumes.CardiacVolumes",
    domain_of_case=True,
    keeps_structures=True,
    structures=None,
    proposed_size=48,
    phantoms="heart",
    prepare=("data_prep.mmwhs", "--pixdim", "5", "--size", "32", "32", "24"),
    demo=Demo(
        "transeg.methods.cardiac.demo.cardiac_demo",
        "demo_cardiac",
        full=Scale(20, 40),
        quick=Scale(7, 1, batches=4, phantoms=("--shape", "48,48,40", "--spacing", "4")),
    ),
)
