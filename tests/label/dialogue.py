"""Phantom studies for each kind of bundle, small training runs, and what is asked of every answer."""

import json
import shutil

import nibabel as nib
import numpy as np
from transeg.bundle.runs import bundle_name, method_of
from transeg.method import find_method

from benchmarks.label_server import Study, brain_study, write_studies
from data_prep.phantoms.heart import heart_phantom
from data_prep.phantoms.thigh import thigh_phantom
from tests.bundle.conftest import LEFT, change, recipe_of

LABELLED, ALL = 2, 4
GRADES = ("severe", "healthy", "severe", "healthy")


def small_brain(k):
    # PathoGAN trains on what lies 60 to 100 mm above the lowest slice
    return brain_study(k, shape=(60, 60, 39), spacing=4.0, difficulty=0.0)


def small_thigh(k):
    phantom = thigh_phantom((0, k), shape=(96, 48, 8), spacing=(4.0, 4.0, 7.0), grade=GRADES[k])
    return Study(phantom.image, phantom.mask, phantom.affine)


def small_heart(k):
    """CT and MR in turn, under names that do not tell which."""
    phantom = heart_phantom((0, k), ("ct", "mr")[k % 2], (48, 48, 40), 4.0)
    return Study(phantom.image, phantom.label, phantom.affine)


SEQUENCES = ("flair", "t1c", "t1", "t2")  # of a brain phantom
DRAW = {"brain": small_brain, "thigh": small_thigh, "heart": small_heart}


def draw_for(bundle, k):
    """Phantom study k with the channels of a bundle, in their order where the bundle names sequences."""
    kind = find_method(method_of(bundle)).phantoms
    assert kind is not None
    names, study = recipe_of(bundle)["channels"], DRAW[kind](k)
    if len(names) == 1:
        return study
    places = [SEQUENCES.index(name) if name in SEQUENCES else place for place, name in enumerate(names)]
    return study._replace(image=study.image[..., places])


def write_phantoms(folder, bundle, affines=(None,)):
    """Studies for the method of a bundle: p0 to p3, of which p0 and p1 have a label."""
    write_studies(folder, ALL, LABELLED, affines, draw=lambda k: draw_for(bundle, k))
    return folder


def with_small_training(bundle, folder):
    """Copy of a bundle that trains two updates in an epoch."""
    made = shutil.copytree(bundle, folder / bundle.name, ignore=LEFT)

    def small(config):
        config |= {"batch_size": 2, "batches_per_epoch": 2}
        config["labelled_per_batch"] = min(1, config["labelled_per_batch"])

    change(made / "configs" / "train.json", small)
    return made


def labels_of(bundle):
    """Label values by name, which MONAI Label writes small."""
    pred = json.loads((bundle / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    return {name.lower(): int(value) for value, name in pred["channel_def"].items() if name != "background"}


def model_folder(app, bundle):
    """Where MONAI Label's app keeps a bundle."""
    return app / "monaibundle" / "model" / bundle_name(bundle)


def read(answer, path):
    assert answer.status == 200, answer.content
    path.write_bytes(answer.content)
    return nib.Nifti1Image.from_filename(path)


def check_mask(mask, study, values=(1,)):
    """The mask lies on the grid of the study and has no other values."""
    image = nib.Nifti1Image.from_filename(study)
    assert mask.shape == image.shape[:3]
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-3)
    assert set(np.unique(mask.dataobj)) <= {0, *values}


def latest_run(app, bundle):
    """The run folder of the last training run."""
    return sorted(model_folder(app, bundle).glob("runs/*/*/configs"))[-1].parent


def check_lists(method, lists, run):
    """What the method takes of labelled and of other studies."""
    labelled = {item["case"] for item in lists["presence"] if "label" in item}
    unlabelled = {item["case"] for item in lists["presence"] if "label" not in item}
    absence = {item["case"] for item in lists["absence"]}
    assert labelled
    assert labelled <= {"p0", "p1"}
    if method == "genseg":
        assert labelled == {"p0", "p1"}
        assert unlabelled
        assert unlabelled <= {"p2", "p3"}
        assert absence & {"p2", "p3"}
    elif method == "pathogan":
        assert absence & {"p0", "p1"}
        assert lists["preparation"]["unlabelled studies"] == ALL - LABELLED
    elif method == "thigh":
        assert labelled == {"p0"}
        assert absence >= {"p1"}
    elif method == "cardiac":
        assert {item["case"]: item["domain"] for item in lists["presence"]} == {"p0": "ct", "p1": "mr"}
        terms = json.loads((run / "logs" / "terms.jsonl").read_text().splitlines()[-1])
        assert {"generators/shape", "segmenters/synthetic"} <= terms.keys(), "one epoch is of the last phase"
