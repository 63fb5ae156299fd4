"""Bad input, through MONAI's own command line: the good cases are done, the bad ones named, the exit status tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import SaveImaged
from transeg.errors import root_cause

from tests.commands import start

from .conftest import BUNDLES, load_nifti, read_config
from .test_workflows import copy, workflow, write_test_volumes  # noqa: F401 (fixture)

AFFINE = np.array([[-2.5, 0.2, 0, 40], [0.2, 2.5, 0.1, -60], [0, -0.1, 4, 9], [0, 0, 0, 1]])  # flipped, oblique
SHAPE = (48, 56, 7)
Change = Callable[[np.ndarray], np.ndarray]


class Fault(NamedTuple):
    """A case that cannot be used, the file that is to blame and words of the message."""

    item: dict[str, Any]
    file: str
    message: str


class Scans:
    """Writes cases of noise in an ellipsoid with a bright lesion: a folder each, a file per channel and a label.

    Args:
        folder: to write to.
        channels: names of the channels, which the names of the files hold.
    """

    def __init__(self, folder: Path, channels: list[str]) -> None:
        self.folder, self.channels = folder, channels
        axes = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"), axis=-1)
        self.body, self.lesion = (((axes - at) ** 2).sum(-1) < size for at, size in ((0, 0.7), (0.2, 0.17)))
        rng = np.random.default_rng(0)
        noise = [rng.normal(0, 30, SHAPE) for _ in channels]
        images = [self.body * (300 + 100 * c + 90 * self.lesion + part) for c, part in enumerate(noise)]
        self.images = [image.astype(np.float32) for image in images]

    def write(self, case: str, affine: np.ndarray = AFFINE, changes: Mapping[str, Change] = {}) -> dict[str, Any]:
        """Write a case; `changes` edit the arrays of channels and of the label, by name."""
        place = self.folder / case
        place.mkdir(parents=True)
        files = {}
        for name, data in {**dict(zip(self.channels, self.images, strict=True)), "seg": self.lesion}.items():
            files[name] = str(place / f"{case}_{name.lower()}.nii.gz")
            data = changes[name](data.copy()) if name in changes else data
            nib.save(nib.Nifti1Image(data.astype(np.uint8 if name == "seg" else np.float32), affine), files[name])
        return {"image": [files[name] for name in self.channels], "label": files["seg"], "case": case}

    def stack(self, name: str, count: int) -> str:
        """Write the first channels as one file, channels last."""
        path = self.folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(np.stack(self.images[:count], -1), AFFINE), path)
        return str(path)


def put(where: tuple, value: float) -> Change:
    def change(data: np.ndarray) -> np.ndarray:
        data[where] = value
        return data

    return change


def faults(scans: Scans, values_of_labels: bool) -> Iterator[Fault]:
    """A case for each fault that the bundle can meet, in alphabetical order."""
    first, last = scans.channels[0], scans.channels[-1]

    def changed(case: str, name: str, change: Change, message: str) -> Fault:
        item = scans.write(case, changes={name: change})
        return Fault(
            item, dict(zip((*scans.channels, "seg"), (*item["image"], item["label"]), strict=True))[name], message
        )

    yield changed("a_nan", last, put((3, 3, slice(2, 4)), np.nan), "2 NaN or infinite")
    yield changed("b_zero", last, np.zeros_like, "all zero")
    yield changed("c_2d", first, lambda data: data[..., 0], "2D image")
    yield changed("d_4d", first, lambda data: np.stack([data, data], -1), "4D file")
    if values_of_labels:
        nine = put((0, 0, slice(3)), 9)
        yield changed("e_label", "seg", lambda data: nine(data.astype(np.uint8)), "value(s): 9 (3 voxels)")
    item = scans.write("f_truncated")
    Path(item["image"][-1]).write_bytes(Path(item["image"][-1]).read_bytes()[:2000])
    yield Fault(item, item["image"][-1], "truncated")
    item = scans.write("g_missing")
    Path(item["image"][-1]).unlink()
    yield Fault(item, item["image"][-1], "no such file")
    yield changed("h_infinite", first, put((0, 0, 0), np.inf), "1 NaN or infinite")
    item = scans.write("i_gone") | {"image": str(scans.folder / "never_written.nii.gz")}
    yield Fault(item, item["image"], "no such file")
    if len(scans.channels) == 1:
        return
    yield changed("j_shape", last, lambda data: data[..., :-1], "shape")
    item, moved = scans.write("k_affine"), scans.write("moved", AFFINE + np.eye(4)[:, ::-1] * 0.5)
    item["image"][-1] = moved["image"][-1]
    yield Fault(item, item["image"][-1], "affine differs")
    count = len(scans.channels)
    item = scans.write("l_channels") | {"image": scans.stack("too_few", count - 1)}
    yield Fault(item, item["image"], f"{count - 1} channel(s), but {count} are needed")


@pytest.fixture
def scans(bundle, tmp_path) -> Scans:
    return Scans(tmp_path / "data", read_config(bundle, "inference.json")["recipe"]["channels"])


def run(cwd: Path, settings: Mapping[str, object], log: Path) -> tuple[int | None, str]:
    """Exit code and output of the command."""
    pairs = [part for key, value in settings.items() for part in (f"--{key}", value)]
    process = start("monai.bundle", "run", "inferring", *pairs, cwd=cwd, log=log)
    process.join()
    return process.exitcode, log.read_text()


def reason(error: pytest.ExceptionInfo) -> str:
    return str(root_cause(error.value))


def test_a_batch_with_bad_cases(copy, scans, tmp_path):  # noqa: F811
    config = read_config(copy, "inference.json")
    bad = list(faults(scans, "domains" in config["recipe"]))
    good = [scans.write("good1"), scans.write("good2") | {"image": scans.stack("good2", len(scans.channels))}]
    write_test_volumes(scans.folder, [good[0], *(fault.item for fault in bad), good[1]])

    out = tmp_path / "out"
    wanted: dict[str, object] = {"save_probability": True, "save_translation": True}
    wanted |= {"modality": "ct"} if "modality" in config else {}
    wanted |= {"least_area": 0.0} if "least_area" in config else {}  # so that the mask follows from the probability
    settings = {
        "config_file": copy / "configs/inference.json",
        "bundle_root": copy,
        "dataset_dir": scans.folder,
        "output_dir": out,
        "preprocessing#label_keys": "label",
    }
    code, output = run(BUNDLES.parent, settings | wanted, tmp_path / "log")

    assert code == 1, output
    head = f"{len(bad)} of {len(bad) + 2} cases failed"
    listing = output[output.rindex(head) :].strip().splitlines()
    assert len(listing) == 1 + len(bad)
    for line, fault in zip(listing[1:], bad, strict=True):
        assert line.strip().startswith(f"{fault.item['case']}: ")
        assert fault.file in line
        assert fault.message in line

    source = load_nifti(good[0]["image"][0])
    written = {
        case: {path.name.removeprefix(case): load_nifti(path) for path in out.glob(f"{case}_*.nii.gz")}
        for case in ("good1", "good2")
    }
    assert len(list(out.glob("*.nii.gz"))) == sum(map(len, written.values()))
    assert written["good1"].keys() == written["good2"].keys() >= {"_seg.nii.gz"}
    assert len(written["good1"]) == 3
    for kind, image in written["good1"].items():
        np.testing.assert_allclose(image.affine, source.affine, rtol=0, atol=1e-12)
        assert image.shape[:3] == SHAPE
        np.testing.assert_array_equal(image.get_fdata(), written["good2"][kind].get_fdata())  # one scan, given twice
    mask = written["good1"]["_seg.nii.gz"]
    assert mask.get_data_dtype() == np.uint8
    if "threshold" in config:  # the masks of the others are made on the preprocessed grid
        np.testing.assert_array_equal(
            mask.get_fdata(), written["good1"]["_prob.nii.gz"].get_fdata() >= config["threshold"]
        )


def test_an_unwritable_output_folder(bundle, scans, tmp_path):
    scans.write("good")
    (tmp_path / "taken").write_text("a file")
    options = {"dataset_dir": scans.folder, "output_dir": tmp_path / "taken"}
    code, output = run(bundle, {"config_file": "configs/inference.json", **options}, tmp_path / "log")
    assert code != 0
    last = output.strip().splitlines()[-1]
    assert f"{tmp_path / 'taken'}: cannot write to the output folder" in last
    assert "set output_dir" in last


def test_a_folder_of_scans_is_enough(copy, scans, tmp_path):  # noqa: F811
    scans.write("one")
    Path(scans.write("two")["label"]).unlink()
    options = {"output_dir": str(tmp_path / "out"), "run_id": "inferring"}
    workflow(copy, "infer", ["inference.json"], scans.folder, **options).run()
    names = sorted(path.name for path in (tmp_path / "out").glob("*_seg.nii.gz"))
    assert [name[:3] for name in names] == ["one", "two"]


def test_an_empty_folder(copy, tmp_path):  # noqa: F811
    options = {"output_dir": str(tmp_path / "out"), "run_id": "inferring"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError) as error:
        workflow(copy, "infer", ["inference.json"], tmp_path / "empty", **options).run()
    assert f"{tmp_path / 'empty'}: no scan found" in reason(error)


def test_weights_of_another_network(copy, scans, tmp_path):  # noqa: F811
    scans.write("one")
    options = {"output_dir": str(tmp_path / "out"), "run_id": "inferring"}
    more = [*scans.channels, "another"]
    with pytest.raises(RuntimeError) as error:
        workflow(copy, "infer", ["inference.json"], scans.folder, channels=more, **options)
    assert f"channels is {more} in the config, but {scans.channels} in {copy}" in reason(error)
    width = 2 * read_config(copy, "inference.json")["width"]
    with pytest.raises(RuntimeError) as error:
        workflow(copy, "infer", ["inference.json"], scans.folder, width=width, **options).run()
    assert "model.pt holds the weights of another network" in reason(error)


def test_the_parts_work_by_themselves(copy, scans, tmp_path):  # noqa: F811
    """As MONAI Label uses them: one file, no data list, nothing saved."""
    scans.folder.mkdir()
    file = scans.stack("scan", len(scans.channels))
    parser = ConfigParser()
    parser.read_config(str(copy / "configs/inference.json"))
    for key, value in {"bundle_root": str(copy), "output_dir": str(tmp_path / "never"), "save_reports": False}.items():
        parser[key] = value
    item = parser.get_parsed_content("preprocessing")({"image": file})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(copy / "models/model.pt", weights_only=True))
    with torch.no_grad():
        predicted = parser.get_parsed_content("inferer")(item["image"][None], network)[0]
    if "least_area" in parser.config:  # these weights may find nothing in noise
        parser["threshold"] = torch.sigmoid(predicted).median().item()
        item = parser.get_parsed_content("preprocessing")({"image": file})
    item["pred"] = predicted
    for step in parser.get_parsed_content("postprocessing").transforms:
        if not isinstance(step, SaveImaged):
            item = step(item)
    assert item["pred"].shape == (1, *SHAPE)
    assert len(item["pred"].unique()) > 1
    assert not (tmp_path / "never").exists()
