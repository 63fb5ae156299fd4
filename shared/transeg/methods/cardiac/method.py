"""What tools may ask about this method."""

from transeg.method import Demo, Method

METHOD = Method(
    bundle="cardiac_ct_mr_segmentation",
    summary="chambers in CT and MR",
    lists={"training_ct": "validation_ct", "training_mr": "validation_mr"},
    extractor="transeg.methods.cardiac.volumes.CardiacVolumes.from_recipe",
    domain_of_case=True,
    structures=None,
    proposed_size=48,
    phantoms="heart",
    demo=Demo("transeg.methods.cardiac.demo.cardiac_demo", "demo_cardiac", 20, 40),
)
