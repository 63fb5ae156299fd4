"""What tools may ask about this method."""

from transeg.method import Demo, Method

METHOD = Method(
    bundle="cardiac_ct_mr_segmentation",
    summary="chambers in CT and MR",
    lists={"training_{domain}": "validation_{domain}"},
    extractor="transeg.methods.cardiac.volumes.CardiacVolumes",
    domain_of_case=True,
    structures=None,
    proposed_size=48,
    phantoms="heart",
    prepare=("data_prep.mmwhs", "--pixdim", "5", "--size", "32", "32", "24"),
    demo=Demo("transeg.methods.cardiac.demo.cardiac_demo", "demo_cardiac", 20, 40),
)
