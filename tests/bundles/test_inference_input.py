"""Bad input, through MONAI's own command line: the good cases are done, the bad ones named, the exit status tells."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, create_workflow
from monai.transforms import SaveImaged

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles/brain_mri_genseg_segmentation"
CONFIG = BUNDLE / "configs/inference.json"
SEQUENCES = ("flair", "t1ce", "t1", "t2")
AFFINE = np.array([[-2.5, 0.2, 0, 40], [0.2, 2.5, 0.1, -60], [0, -0.1, 4, 9], [0, 0, 0, 1]])  # flipped, oblique
SHAPE = (48, 56, 7)


def run(*options, cwd=ROOT, **settings):
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "inferring", *map(str, options)]
    for key, value in settings.items():
        command += [f"--{key}", str(value)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder that stands for the bundle's, with random weights."""
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(str(CONFIG))
    root = tmp_path_factory.mktemp("bundle")
    (root / "models").mkdir()
    torch.save(parser.get_parsed_content("network_def").state_dict(), root / "models/model.pt")
    return root


def arrays():
    rng = np.random.default_rng(0)
    axes = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    brain = (axes**2).sum(axis=0) < 0.7
    return [(brain * rng.normal(400 + 100 * c, 40, SHAPE)).astype(np.float32) for c in range(4)], brain


def write(folder, case, change=None, affine=AFFINE):
    """Write a case with one folder, one file for each sequence and a label; `change` edits its arrays."""
    images, brain = arrays()
    parts = {**dict(zip(SEQUENCES, images, strict=True)), "seg": brain.astype(np.uint8)}
    if change:
        change(parts)
    (folder / case).mkdir(parents=True)
    files = {}
    for name, data in parts.items():
        files[name] = folder / case / f"{case}_{name}.nii.gz"
        nib.save(nib.Nifti1Image(data, affine), files[name])
    return {"image": [str(files[name]) for name in SEQUENCES], "label": str(files["seg"]), "case": case}


def put(name, where, value):
    def change(parts):
        parts[name] = parts[name].copy()
        parts[name][where] = value

    return change


def replace(name, make):
    return lambda parts: parts.update({name: make(parts[name])})


def test_a_batch_with_bad_cases(tmp_path, weights):
    data = tmp_path / "data"
    items = [
        write(data, "good1"),
        write(data, "a_nan", put("t1", (3, 3, slice(2)), np.nan)),
        write(data, "b_zero", replace("t2", np.zeros_like)),
        write(data, "c_shape", replace("t1ce", lambda x: x[..., :-1])),
        write(data, "d_2d", replace("flair", lambda x: x[..., 0])),
        write(data, "e_4d", replace("flair", lambda x: np.stack([x, x], -1))),
        write(data, "f_label", put("seg", (0, 0, slice(3)), 9)),
        write(data, "g_affine"),
        write(data, "h_truncated"),
        write(data, "i_missing"),
        write(data, "j_channels"),
        write(data, "k_infinite", put("flair", (0, 0, 0), np.inf)),
        write(data, "l_gone"),
        write(data, "good2"),
    ]
    items[7]["image"][2] = write(data, "moved", affine=AFFINE + np.eye(4)[:, ::-1] * 0.5)["image"][2]
    truncated = Path(items[8]["image"][1])
    truncated.write_bytes(truncated.read_bytes()[:2000])
    Path(items[9]["image"][3]).unlink()
    images, _ = arrays()
    three = data / "three.nii.gz"
    nib.save(nib.Nifti1Image(np.stack(images[:3], -1), AFFINE), three)
    items[10]["image"] = str(three)
    items[12]["image"] = str(data / "never_written.nii.gz")
    four = data / "four.nii.gz"
    nib.save(nib.Nifti1Image(np.stack(images, -1), AFFINE), four)
    items[13]["image"] = str(four)
    (data / "datalist.json").write_text(json.dumps({"test_volumes": items}))

    out = tmp_path / "out"
    done = run(
        config_file=CONFIG, bundle_root=weights, dataset_dir=data, output_dir=out, save_probability=True,
        save_translation=True, **{"preprocessing#label_keys": "label"},
    )  # fmt: skip

    assert done.returncode == 1, done.stderr
    listing = done.stderr[done.stderr.rindex("12 of 14 cases failed") :].strip().splitlines()
    expected = {
        "a_nan": (items[1]["image"][2], "2 NaN or infinite"),
        "b_zero": (items[2]["image"][3], "all zero"),
        "c_shape": (items[3]["image"][1], "shape"),
        "d_2d": (items[4]["image"][0], "2D image"),
        "e_4d": (items[5]["image"][0], "4D file"),
        "f_label": (items[6]["label"], "unknown label value(s) (9)"),
        "g_affine": (items[7]["image"][2], "affine differs"),
        "h_truncated": (str(truncated), "truncated"),
        "i_missing": (items[9]["image"][3], "no such file"),
        "j_channels": (str(three), "3 channel(s), but 4 are needed"),
        "k_infinite": (items[11]["image"][0], "1 NaN or infinite"),
        "l_gone": (items[12]["image"], "no such file"),
    }
    assert len(listing) == 1 + len(expected)
    for line, (case, (file, fault)) in zip(listing[1:], expected.items(), strict=True):
        assert line.strip().startswith(f"{case}: ")
        assert file in line
        assert fault in line

    kinds = ("prob", "seg", "translation")
    assert sorted(path.name for path in out.iterdir()) == [f"{c}_{k}.nii.gz" for c in ("good1", "good2") for k in kinds]
    source = nib.load(four)
    for case in ("good1", "good2"):
        mask, probability, translation = (nib.load(out / f"{case}_{k}.nii.gz") for k in ("seg", "prob", "translation"))
        for image in (mask, probability, translation):
            np.testing.assert_array_equal(image.affine, source.affine)
            assert image.shape[:3] == SHAPE
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(mask.get_fdata(), probability.get_fdata() >= 0.5)
        assert translation.shape[3] == 4
    first, second = (nib.load(out / f"{case}_prob.nii.gz").get_fdata() for case in ("good1", "good2"))
    np.testing.assert_array_equal(first, second)  # the same scan, given in two ways


def test_an_unwritable_output_folder(tmp_path, weights):
    write(tmp_path / "data", "good")
    (tmp_path / "taken").write_text("a file")
    done = run(
        cwd=BUNDLE, config_file="configs/inference.json", dataset_dir=tmp_path / "data", output_dir=tmp_path / "taken"
    )
    assert done.returncode != 0
    assert f"{tmp_path / 'taken'}: cannot write to the output folder" in done.stderr
    assert "set output_dir" in done.stderr


def workflow(weights, data, out, **options):
    return create_workflow(
        config_file=str(CONFIG),
        workflow_type="infer",
        bundle_root=str(weights),
        dataset_dir=str(data),
        output_dir=str(out),
        run_id="inferring",
        logging_file=False,
        **options,
    )


def chain(error):
    while error:
        yield str(error)
        error = error.__cause__


def test_a_folder_of_scans_is_enough(tmp_path, weights):
    write(tmp_path / "data", "one")
    Path(write(tmp_path / "data", "two")["label"]).unlink()
    workflow(weights, tmp_path / "data", tmp_path / "out").run()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one_seg.nii.gz", "two_seg.nii.gz"]


def test_an_empty_folder(tmp_path, weights):
    with pytest.raises(RuntimeError) as error:
        workflow(weights, tmp_path, tmp_path / "out").run()
    assert any(f"{tmp_path}: no NIfTI volumes" in message for message in chain(error.value))


def test_weights_for_another_number_of_channels(tmp_path, weights):
    write(tmp_path / "data", "one")
    with pytest.raises(RuntimeError) as error:
        workflow(weights, tmp_path / "data", tmp_path / "out", channels=["FLAIR", "T1c"]).run()
    assert any("size mismatch" in message for message in chain(error.value))


def test_the_parts_work_by_themselves(tmp_path, weights):
    """As MONAI Label uses them: one 4D file, no data list, nothing saved."""
    images, brain = arrays()
    nib.save(nib.Nifti1Image(np.stack(images, -1), AFFINE), tmp_path / "scan.nii.gz")
    parser = ConfigParser()
    parser.read_config(str(CONFIG))
    parser.config.update({"bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "never")})
    item = parser.get_parsed_content("preprocessing")({"image": str(tmp_path / "scan.nii.gz")})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(weights / "models/model.pt", weights_only=True))
    with torch.no_grad():
        item["pred"] = parser.get_parsed_content("inferer")(item["image"][None], network)[0]
    steps = parser.get_parsed_content("postprocessing").transforms
    for step in steps:
        if not isinstance(step, SaveImaged):
            item = step(item)
    assert item["pred"].shape == (1, *SHAPE)
    assert len(steps) == 4
    assert not item["pred"][0].numpy()[~brain].all()
    assert not (tmp_path / "never").exists()
