"""Written masks of boxes against reference boxes, with values known by hand."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from transeg.cli import app
from transeg.evaluation.summary import MEAN
from transeg.transforms.read import read_volume
from typer.testing import CliRunner

SHAPE = (12, 10, 8)
AFFINE = np.diag([2.0, 2.0, 5.0, 1])
ML = 0.02  # of a voxel
RECIPE = {"labels": ["background", "lesion"], "label_values": {"lesion": [4]}, "channels": ["t1"]}


def save(path, *boxes, value=1, affine=AFFINE, shape=SHAPE):
    """A mask of boxes; each one after the first has a value higher by one."""
    mask = np.zeros(shape, np.uint8)
    for k, box in enumerate(boxes):
        mask[box] = value + k
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(mask, affine), path)
    return path


def manifest(folder, recipe=RECIPE, seen=(), known=0, **cases):
    entries = {case: {"seen": use} for case, use in dict(seen).items()} | cases
    content = {"made_with": {"recipe": recipe}, "training_cases": known, "cases": entries}
    (folder / "manifest.json").write_text(json.dumps(content))


def run(*arguments):
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return result.exit_code, result.output + (str(result.exception) if result.exception else "")


def rows(folder):
    with (folder / "evaluation.csv").open(newline="") as file:
        return {(row["method"], row["run"], row["case"], row["structure"]): row for row in csv.DictReader(file)}


def summary(folder, structure="lesion"):
    return json.loads((folder / "evaluation.json").read_text())["structures"][structure]


BOX = np.s_[2:6, 2:6, 2:4]  # 32 voxels in slices 2 and 3


@pytest.fixture
def data(tmp_path):
    """A table of five test cases: four with a lesion, of which two are of one patient, and one without."""
    lines = ["case,patient,image,label,split"]
    for name, patient, split in (
        ("a", "p", "test"), ("b", "p", "test"), ("c", "q", "test"), ("d", "r", "test"), ("none", "s", "test"),
        ("t", "u", "training"),
    ):  # fmt: skip
        save(tmp_path / "data" / f"{name}.nii.gz", np.s_[:])
        save(tmp_path / "data" / f"{name}_mask.nii.gz", *([] if name == "none" else [BOX]), value=4)
        lines.append(f"{name},{patient},{name}.nii.gz,{name}_mask.nii.gz,{split}")
    (tmp_path / "data" / "cases.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


@pytest.fixture
def masks(tmp_path):
    """Masks that are right (a), half of it (b), empty (c), missing (d), a false alarm (none), and one of no case."""
    folder = tmp_path / "masks"
    for name, box in {"a": BOX, "b": np.s_[2:6, 2:6, 2:3], "none": np.s_[:1, :1, :2], "other": BOX}.items():
        save(folder / f"{name}_seg.nii.gz", box)
    save(folder / "c_seg.nii.gz")
    manifest(folder)
    return folder


def test_every_case_counts(masks, data):
    code, output = run(masks, "--data", data)
    assert code == 0, output
    assert (masks / "evaluation.md").read_text() in output
    found = rows(masks)
    assert {case for _, _, case, _ in found} == {"a", "b", "c", "d", "none"}
    by_case = {case: row for (method, _, case, _), row in found.items() if method == "masks"}
    dice = {case: row["dice"] for case, row in by_case.items()}
    assert dice == {"a": "1.0", "b": "0.666667", "c": "0.0", "d": "0.0", "none": ""}
    assert {case: row["mask"] for case, row in by_case.items() if row["mask"]} == {"c": "empty", "d": "missing"}
    diagonal = np.linalg.norm(np.array(SHAPE) * (2, 2, 5))
    assert float(by_case["c"]["hd95_mm"]) == float(by_case["d"]["hd95_mm"]) == pytest.approx(diagonal, abs=1e-5)
    assert float(by_case["b"]["hd95_mm"]) == 5  # mm, one slice
    assert float(by_case["b"]["detection_rate"]) == 0.5
    assert float(by_case["none"]["false_alarm_rate"]) == 2 / 8
    assert float(by_case["none"]["false_alarm_ml"]) == pytest.approx(2 * ML)
    own = summary(masks)["methods"]["masks"]
    assert own["scores"]["dice"]["n"] == 3  # patients
    assert own["scores"]["dice"]["mean"] == pytest.approx(((1 + 2 / 3) / 2 + 0 + 0) / 3, abs=1e-6)
    assert own["scores"]["dice"]["median"] == 0
    assert own["scores"]["false_alarm_rate"]["n"] == 4
    counts = {key: own[key] for key in ("cases", "patients", "cases_without_structure", "empty_masks", "missing_masks")}
    assert counts == {
        "cases": 5, "patients": 4, "cases_without_structure": 1, "empty_masks": 1, "missing_masks": 1
    }  # fmt: skip
    assert "no mask of 1 of 5 cases, which count as empty masks: d" in output
    assert "4 of 5 scans show the structure; of their 4 masks 1 are empty and 1 missing" in output
    assert "Of the 1 masks of scans without it, 1 mark something" in output


def test_masks_that_are_all_on_another_grid_are_refused(data, tmp_path):
    for name in "abcd":
        save(tmp_path / "masks" / f"{name}_seg.nii.gz", BOX, affine=np.diag([1.0, 1, 1, 1]))
    manifest(tmp_path / "masks")
    code, output = run(tmp_path / "masks", "--data", data)
    assert code == 1
    assert "4 masks cannot be used; such a mask counts as missing:" in output
    assert "a_seg.nii.gz" in output
    assert not (tmp_path / "masks" / "evaluation.md").exists()


def test_references_in_slices_have_the_voxel_size_with_which_they_were_segmented(tmp_path):
    (tmp_path / "data").mkdir()
    for z in range(SHAPE[2]):
        label = np.zeros(SHAPE[:2], np.uint8)
        label[BOX[:2]] = 4 * (BOX[2].start <= z < BOX[2].stop)
        Image.fromarray(label.T).save(tmp_path / "data" / f"a_{z}_mask.png")
    (tmp_path / "data" / "cases.csv").write_text("case,image,label\na,a_*_mask.png,a_*_mask.png\n")
    scan = read_volume(str(tmp_path / "data" / "a_*_mask.png"), (2, 2, 5))
    save(tmp_path / "masks" / "a_seg.nii.gz", BOX, affine=scan.affine.numpy())
    manifest(tmp_path / "masks", a={"spacing": [2, 2, 5]})
    code, output = run(tmp_path / "masks", "--data", tmp_path / "data")
    assert code == 0, output
    [row] = [row for (method, *_), row in rows(tmp_path / "masks").items() if method == "masks"]
    assert (row["dice"], float(row["reference_ml"])) == ("1.0", pytest.approx(32 * ML))


def test_trivial_baselines_and_other_methods_are_alongside(masks, data, tmp_path):
    for name in "abcd":  # of another program: no manifest, named after the case, and any value above 0
        save(tmp_path / "nnunet" / f"{name}.nii.gz", BOX, value=255)
    out = tmp_path / "out"
    code, output = run(f"ours={masks}", f"U-Net={tmp_path / 'nnunet'}", "--data", data, "--out", out)
    assert code == 0, output
    assert not (masks / "evaluation.csv").exists()
    found = summary(out)
    assert list(found["methods"]) == ["ours", "U-Net", "empty mask", "mean shape"]
    means = {name: own["scores"]["dice"]["mean"] for name, own in found["methods"].items()}
    assert means["U-Net"] == 1
    assert means["empty mask"] == 0
    assert means["mean shape"] > 0.8  # all references are the same box, on a coarser grid
    difference = found["differences"]["U-Net"]["dice"]
    each = np.array([5 / 6, 0, 0]) - 1
    assert difference["mean"] == pytest.approx(each.mean(), abs=1e-6)
    assert difference["interval"] == pytest.approx([each.min(), each.max()], abs=0.06)
    assert found["differences"]["empty mask"]["detection_rate"]["mean"] > 0
    assert "not recorded" in output
    assert "ours - U-Net" in output


def test_runs_of_a_method_are_seeds(masks, data, tmp_path):
    other = tmp_path / "other"
    for name in "abcd":
        save(other / f"{name}_seg.nii.gz", BOX)
    manifest(other)
    code, output = run(f"ours={masks},{other}", "--data", data)
    assert code == 0, output
    own = summary(masks)["methods"]["ours"]
    assert own["runs"] == 2
    dice = own["scores"]["dice"]
    assert dice["each_run"] == pytest.approx([5 / 18, 1], abs=1e-6)
    assert dice["sd_over_runs"] == pytest.approx(13 / 18 / 2**0.5, abs=1e-6)
    assert dice["n"] == 3
    assert dice["mean"] == pytest.approx((5 / 18 + 1) / 2, abs=1e-6)
    assert "SD of runs" in output


def test_several_structures(tmp_path):
    recipe = {"labels": ["background", "LV", "RV"], "label_values": {"LV": [500], "RV": [600]}, "axis": "sagittal"}
    left, right = np.s_[1:3, 1:3, 1:3], np.s_[6:8, 1:3, 1:3]
    for case, boxes in {"x": (left, right), "y": (left,)}.items():
        save(tmp_path / "truth" / f"{case}_label.nii.gz", *boxes, value=5)
        save(tmp_path / "truth" / f"{case}.nii.gz", np.s_[:])  # a scan beside it
        save(tmp_path / "masks" / f"{case}_seg.nii.gz", left, np.s_[6:10, 1:3, 1:3])
    manifest(tmp_path / "masks", recipe)
    code, output = run(tmp_path / "masks", "--data", tmp_path / "truth")
    assert code == 1
    assert "unknown label value(s): 5 (8 voxels), 6 (8 voxels)" in output
    code, output = run(tmp_path / "masks", "--data", tmp_path / "truth", "--labels", "RV=6", "--labels", "LV=5")
    assert code == 0, output
    found = rows(tmp_path / "masks")
    assert found["masks", "1", "x", "LV"]["dice"] == "1.0"
    assert float(found["masks", "1", "x", "RV"]["dice"]) == pytest.approx(2 / 3, abs=1e-6)
    assert float(found["masks", "1", "x", "RV"]["false_alarm_rate"]) == 2 / 10  # sagittal slices
    assert found["masks", "1", "y", "RV"]["dice"] == ""
    means = summary(tmp_path / "masks", MEAN)["methods"]["masks"]["scores"]["dice"]
    assert means["mean"] == pytest.approx((5 / 6 + 1) / 2, abs=1e-6)


def test_prepared_data_know_split_patients_and_values(masks, data):
    lists = {"test_volumes": [], "validation_volumes": [], "test": [{"image": "x.npy", "label": "y.npy", "index": 0}]}
    for name, key in (("a", "test_volumes"), ("b", "test_volumes"), ("c", "validation_volumes")):
        lists[key].append({"case": name, "image": [f"{name}.nii.gz"], "label": f"{name}_mask.nii.gz"})
    recipe = {"labels": ["background", "tumour"], "label_values": {"tumour": [4]}}
    content = {"recipe": recipe, "preparation": {"patients": {"a": "one", "b": "one"}}, **lists}
    (data / "datalist.json").write_text(json.dumps(content))
    code, output = run(masks, "--data", data)
    assert code == 0, output
    assert {(case, row["patient"]) for (_, _, case, _), row in rows(masks).items()} == {("a", "one"), ("b", "one")}
    code, output = run(masks, "--data", data, "--split", "validation")
    assert code == 0, output
    assert {case for _, _, case, _ in rows(masks)} == {"c"}
    code, output = run(masks, "--data", data, "--split", "training")
    assert code == 1
    assert "none of 0 volumes of training has a reference mask; name another --split" in output


def test_cases_that_the_weights_were_trained_on_are_refused(masks, data):
    manifest(masks, seen={"b": "training", "a": "validation"}, known=2)
    code, output = run(masks, "--data", data)
    assert code == 1
    assert f"{masks}: its weights were trained on 1 of the 5 cases: b; scores on these say nothing" in output
    assert "--force" in output
    assert not (masks / "evaluation.csv").exists()
    code, output = run(masks, "--data", data, "--force")
    assert code == 0, output
    assert "Weights were trained on 1 of the 5 cases: these scores say nothing about other scans." in output
    assert "Weights were validated on 1 of the 5 cases: these scores may be too good." in output
    assert "not recorded" not in output
    assert rows(masks)["masks", "1", "b", "lesion"]["seen"] == "training"


def test_masks_that_cannot_be_used_count_and_are_told(masks, data):
    save(masks / "a_seg.nii.gz", BOX, affine=np.diag([2, 2, 4, 1]))
    save(masks / "b_seg.nii.gz", shape=(12, 10, 7))
    (data / "c_mask.nii.gz").write_bytes(b"no image")
    code, output = run(masks, "--data", data)
    assert code == 1
    found = rows(masks)
    assert [found["masks", "1", case, "lesion"]["mask"] for case in "abd"] == ["missing"] * 3
    assert "a_seg.nii.gz: its affine differs from that of" in output
    assert "b_seg.nii.gz: shape (12, 10, 7)" in output
    assert "c_mask.nii.gz" in output
    assert ("masks", "1", "c", "lesion") not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{masks}", "--data", "{masks}/manifest.json"), "neither prepared data (datalist.json) nor a table"),
        (("{data}/nothing", "--data", "{data}"), "nothing: no such folder; name folders of masks"),
        (("{data}", "{data}", "--data", "{data}"), "several methods are named data; name them: NAME=FOLDER"),
        (("mean shape={masks}", "--data", "{data}"), "several methods are named mean shape"),
        (("{masks}", "--data", "{data}", "--split", "validation"), "none of 0 cases of validation has a label"),
        (("{data}/empty", "--data", "{data}"), "no mask of the 5 cases of"),
        (("{masks}", "--data", "{data}", "--labels", "lesion"), "expected NAME=VALUE"),
        (("{masks}", "--data", "{data}", "--labels", "a=1", "--labels", "b=2"), "its labels are a, b, but the weights"),
    ],
)
def test_what_cannot_be_compared(masks, data, arguments, message):
    (data / "empty").mkdir()
    code, output = run(*(text.format(masks=masks, data=data) for text in arguments))
    assert code == 1
    assert message in output
