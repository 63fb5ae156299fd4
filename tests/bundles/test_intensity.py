"""MR intensities have no unit: masks do not depend on the offset or gain of a scan, nor on what its background is."""

import numpy as np
import pytest

from .conftest import load_nifti, parser_of, read_config
from .test_inference_input import Scans

OFFSET = 300
CHANGES = {
    "offset": lambda image: image + OFFSET,
    "offset_inside": lambda image: np.where(image != 0, image + OFFSET, 0),
    "gain": lambda image: image * 0.01,
    "standardised": lambda image: (image - image.mean()) / image.std(),
}


def test_masks_do_not_depend_on_offset_and_gain(bundle, tmp_path):
    recipe = read_config(bundle, "inference.json")["recipe"]
    if "domains" in recipe or "window" in recipe:
        pytest.skip("CT: Hounsfield units are absolute")
    zero = recipe.get("foreground", "zero") == "zero"  # otherwise air is part of the scan
    changes = {name: change for name, change in CHANGES.items() if zero or name != "offset_inside"}
    scans = Scans(tmp_path / "scans", recipe["channels"])
    every = [dict.fromkeys(recipe["channels"], change) for change in changes.values()]
    items = [scans.write("plain")] + [
        scans.write(name, changes=change) for name, change in zip(changes, every, strict=True)
    ]
    items = [{"image": item["image"], "case": name} for name, item in zip(["plain", *changes], items, strict=True)]
    out = tmp_path / "out"
    # a threshold that noise with a bright ball exceeds somewhere, whatever the weights were trained on
    options = {"save_reports": False, "threshold": 1e-3}
    own = {key: value for key, value in options.items() if key in read_config(bundle, "inference.json")}
    parser = parser_of(bundle, "inference.json", datalist=items, output_dir=str(out), **own)
    parser.get_parsed_content("evaluator").run()
    plain, *others = (np.asarray(load_nifti(out / f"{item['case']}_seg.nii.gz").dataobj) for item in items)
    assert plain.any()
    for name, mask in zip(changes, others, strict=True):
        assert np.count_nonzero(mask != plain) <= 5, name
