"""Cases are found under the names that data sets use, and one that fails does not stop the others."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.utils import ensure_tuple
from PIL import Image
from torch.utils.data import DataLoader
from transeg.data.volumes import GuardedIteration, ReportFailures, VolumeDataset, find_volumes
from transeg.errors import BatchError, ConfigError, DataError, TableError
from transeg.transforms.load import LoadVolumed
from transeg.transforms.outputs import write_nifti

CHANNELS = ("FLAIR", "T1c", "T1", "T2")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root, items):
    files = {item["case"]: ensure_tuple(item["image"]) for item in items}
    return {case: [str(Path(file).relative_to(root)) for file in images] for case, images in files.items()}


@pytest.mark.parametrize(
    ("pattern", "sequences"),
    [
        ("HGG/{0}/{0}_{1}.nii.gz", ("flair", "t1ce", "t1", "t2")),  # BraTS 2017 to 2021
        ("{0}/{0}-{1}.nii.gz", ("t2f", "t1c", "t1n", "t2w")),  # BraTS 2023
        ("{0}/{1}_subtrMeanDivStd.nii", ("Flair", "T1c", "T1", "T2")),
        ("{0}_{1}.nii.gz", ("FLAIR", "T1Gd", "T1", "T2")),  # all in one folder
    ],
)
def test_public_layouts(tmp_path, pattern, sequences):
    for case in ("BraTS-GLI-1-000", "Brats17_x_1"):
        touch(tmp_path, *(pattern.format(case, s) for s in (*sequences, "seg")))
    found = names(tmp_path, find_volumes(tmp_path, CHANNELS))
    assert found == {case: [pattern.format(case, s) for s in sequences] for case in ("BraTS-GLI-1-000", "Brats17_x_1")}
    assert next(iter(names(tmp_path, find_volumes(tmp_path, ("T2", "FLAIR"))).values())) == [
        pattern.format("BraTS-GLI-1-000", s) for s in (sequences[3], sequences[0])
    ]


def test_a_missing_channel_is_named(tmp_path):
    given = ["a/a_flair.nii.gz", "a/a_t1.nii.gz", "a/a_t2.nii.gz"]
    touch(tmp_path, *given)
    items = find_volumes(tmp_path, CHANNELS)
    assert names(tmp_path, items)["a"] == given  # and no path that nobody gave
    dataset = VolumeDataset(items, LoadVolumed("image", len(CHANNELS)))
    assert not [*dataset]
    assert dataset.failures["a"].startswith(
        f"lacks T1c; FLAIR, T1c, T1, T2 are needed, and known are flair ({tmp_path}"
    )


def test_an_empty_cell_is_a_missing_channel(tmp_path):
    touch(tmp_path, *(f"{case}_{name}.nii.gz" for case in "ab" for name in ("flair", "t1")))
    (tmp_path / "cases.csv").write_text("case,flair,t1\na,a_flair.nii.gz,a_t1.nii.gz\nb,,b_t1.nii.gz\n")
    whole, lacking = find_volumes(tmp_path / "cases.csv", ("FLAIR", "T1"))
    assert "problem" not in whole
    assert lacking["image"] == str(tmp_path / "b_t1.nii.gz")
    assert lacking["problem"].startswith("lacks FLAIR; FLAIR, T1 are needed, and known are t1 (")


def test_files_with_all_channels(tmp_path):
    touch(tmp_path, "BRATS_001.nii.gz", "BRATS_002.nii.gz", "._BRATS_002.nii.gz", "BRATS_001_seg.nii.gz", "notes.txt")
    items = find_volumes(tmp_path, CHANNELS)
    assert [item["case"] for item in items] == ["BRATS_001", "BRATS_002"]
    assert items[0]["image"] == str(tmp_path / "BRATS_001.nii.gz")


def test_no_scan_is_passed_over(tmp_path):
    touch(tmp_path, *(f"p1_{s}.nii.gz" for s in ("flair", "t1ce", "t1", "t2")), "p2.nii.gz")
    assert {item["case"] for item in find_volumes(tmp_path, CHANNELS)} == {"p1", "p2"}
    touch(tmp_path / "thigh", "p1_T1.nii.gz", "p2.nii.gz")
    found = find_volumes(tmp_path / "thigh", ("T1w",))
    assert {item["case"]: Path(item["image"]).name for item in found} == {"p1": "p1_T1.nii.gz", "p2": "p2.nii.gz"}
    touch(tmp_path / "brain", "p1_T1.nii.gz", "p1_flair.nii.gz")
    assert names(tmp_path, find_volumes(tmp_path / "brain", ("FLAIR",))) == {"p1": ["brain/p1_flair.nii.gz"]}


def test_a_datalist_comes_first(tmp_path):
    touch(tmp_path, "p1/x_flair.nii.gz", "other.nii.gz")
    listed = [{"image": ["p1/x_flair.nii.gz", "p1/x_t1.nii.gz"], "label": "p1/seg.nii.gz", "case": "p1"}]
    (tmp_path / "datalist.json").write_text(json.dumps({"test_volumes": listed, "validation_volumes": []}))
    (item,) = find_volumes(tmp_path, CHANNELS)
    assert item["case"] == "p1"
    assert [str(file) for file in item["image"]] == [str(tmp_path / file) for file in listed[0]["image"]]
    assert str(item["label"]) == str(tmp_path / "p1/seg.nii.gz")
    assert find_volumes(tmp_path, CHANNELS, ("validation_volumes", "test_volumes")) == [item]
    with pytest.raises(ValueError, match="other_volumes"):
        find_volumes(tmp_path, CHANNELS, ("test_volumes", "other_volumes"))


def test_nothing_found(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no scan found(?s:.*)1 not a volume"):
        find_volumes(tmp_path, CHANNELS)
    with pytest.raises(DataError, match="no such file or folder; name a folder of scans"):
        find_volumes(tmp_path / "gone", CHANNELS)


def test_one_file(tmp_path):
    touch(tmp_path, "scan.nii.gz", "other.nii.gz")
    assert names(tmp_path, find_volumes(tmp_path / "scan.nii.gz", ("T1w",))) == {"scan": ["scan.nii.gz"]}
    touch(tmp_path, "x/1_flair.nii.gz")
    [item] = find_volumes(tmp_path / "x/1_flair.nii.gz", ("FLAIR", "T2"))
    assert Path(item["image"]).name == "1_flair.nii.gz"
    assert item["problem"].startswith("lacks T2")


def test_a_table(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "m.nii.gz")
    (tmp_path / "cases.csv").write_text("case,t1ce,FLAIR,label\np,a.nii.gz,b.nii.gz,m.nii.gz\n")
    [item] = find_volumes(tmp_path / "cases.csv", ("FLAIR", "T1c"))
    assert item == {
        "image": [str(tmp_path / "b.nii.gz"), str(tmp_path / "a.nii.gz")],
        "label": str(tmp_path / "m.nii.gz"),
        "case": "p",
    }


def test_the_table_in_a_folder_describes_it(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz")
    (tmp_path / "cases.csv").write_text("case,image,spacing\np,a.nii.gz,1 2 3\n")
    [item] = find_volumes(tmp_path, ("T1w",))
    assert (item["case"], item["image"], item["spacing"]) == ("p", str(tmp_path / "a.nii.gz"), [1, 2, 3])


def test_a_table_of_other_channels_is_refused_as_a_whole(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "c.nii.gz")
    (tmp_path / "cases.csv").write_text("case,flair,pre\np,a.nii.gz,b.nii.gz\nq,c.nii.gz,\n")
    with pytest.raises(TableError, match="no column for t1c; its channels are flair, pre, those needed are flair, t1c"):
        find_volumes(tmp_path / "cases.csv", ("flair", "t1c"))


@pytest.mark.parametrize("name", ["P1.nii.gz", "P1_T1w.nii.gz", "P1_ct.nii.gz", "P1_image.nrrd", "P1_pet.mha"])
@pytest.mark.parametrize("channel", ["T1w", "image", "CT"])
def test_an_only_image_is_that_of_an_only_channel(tmp_path, name, channel):
    touch(tmp_path, name, "P1_seg.nii.gz", "P1_prob.nii.gz")
    [item] = find_volumes(tmp_path, (channel,))
    assert item["image"] == str(tmp_path / name)
    assert "label" not in item


def test_an_only_channel_is_not_guessed_among_several_images(tmp_path):
    touch(tmp_path, "P1_flair.nii.gz", "P1_t1.nii.gz", "P2_flair.nii.gz")
    with pytest.raises(TableError, match=r"1 of 2 cases leave a choice:\n  P1: which of flair, t1 is image\?"):
        find_volumes(tmp_path, ("image",))
    assert {Path(item["image"]).name for item in find_volumes(tmp_path, ("T1w",))} == {
        "P1_t1.nii.gz",
        "P2_flair.nii.gz",
    }


def test_two_candidates_for_a_channel_are_refused_only_if_it_is_wanted(tmp_path):
    touch(tmp_path, "P1_t1.nii.gz", "P1_t1w.nii.gz", "P1_flair.nii.gz", "P1_seg.nii.gz", "P1_mask.nii.gz")
    with pytest.raises(TableError, match=r"P1: 2 candidates for t1: P1_t1\.nii\.gz, P1_t1w\.nii\.gz"):
        find_volumes(tmp_path, ("FLAIR", "T1"))
    assert len(find_volumes(tmp_path, ("FLAIR",))) == 1
    touch(tmp_path / "other", "P1_ct.nii.gz", "P1_ct.nii")
    with pytest.raises(TableError, match=r"2 candidates for image: P1_ct\.nii, P1_ct\.nii\.gz"):
        find_volumes(tmp_path / "other", ("T1w",))


def test_what_is_left_out_is_warned_of(tmp_path, caplog):
    touch(tmp_path, "P1.nii.gz", "P2_seg.nii.gz", "notes.txt")
    with caplog.at_level(logging.INFO):
        find_volumes(tmp_path, ("image",))
    levels = {record.getMessage().rpartition(f"{tmp_path}/")[2]: record.levelname for record in caplog.records}
    assert levels == {
        "P1.nii.gz": "INFO",
        "P2_seg.nii.gz: skipped: mask without a scan": "WARNING",
        "notes.txt": "INFO",
    }
    caplog.clear()
    touch(tmp_path, "old/P3.hdr", "old/P3.img", ".git/P4.nii.gz", "picture.png")
    find_volumes(tmp_path, ("image",))
    assert [
        record.levelname for record in caplog.records if "P4" in record.message or "picture" in record.message
    ] == []
    analyze = "skipped: Analyze format, which has no orientation; convert it to NIfTI: 2 files, such as"
    assert f"{analyze} {tmp_path / 'old/P3.hdr'}" in [record.getMessage() for record in caplog.records]
    caplog.clear()
    find_volumes(tmp_path, CHANNELS)
    assert "channels of P1 are taken in the order FLAIR, T1c, T1, T2" in caplog.text


def test_a_datalist_from_windows(tmp_path):
    touch(tmp_path, "sub/p1.nii.gz")
    content = json.dumps({"test_volumes": [{"image": "sub\\p1.nii.gz", "case": "p1"}, {"image": "C:\\p2.nii.gz"}]})
    (tmp_path / "datalist.json").write_bytes(b"\xef\xbb\xbf" + content.encode())
    first, second = find_volumes(tmp_path, CHANNELS)
    assert first == {"image": str(tmp_path / "sub/p1.nii.gz"), "case": "p1"}
    assert not Path(second["image"]).exists()


def test_names_must_differ():
    assert [item["case"] for item in VolumeDataset(["/x/a.nii.gz", ["/x/b.nii", "/x/c.nii"]], dict).items] == ["a", "b"]
    with pytest.raises(ValueError, match="duplicate case name a;"):
        VolumeDataset(["/x/a.nii.gz", "/y/a.nii.gz"], dict)
    with pytest.raises(ValueError, match="empty"):
        VolumeDataset([], dict)
    with pytest.raises(ValueError, match="set dataset_dir"):
        VolumeDataset("items.json", dict)


def load(item):
    if item["image"] == "bad file":
        raise ValueError("cannot be read")
    return {**item, "image": torch.full((1, 2), float(item["value"]))}


class Network(torch.nn.Module):
    def forward(self, image):
        if image.max() > 7:
            raise RuntimeError("out of memory")
        return image * 2


def test_the_others_are_done_and_the_failures_listed():
    written = []

    def save(item):
        if item["pred"].max() == 4:
            raise OSError("disk full")
        written.append(item["case"])
        return item

    data = [{"image": "x", "case": str(value), "value": value} for value in (1, 2, 3, 9, 5)]
    data.insert(1, {"image": "bad file", "case": "unread", "value": 0})
    dataset = VolumeDataset(data, load)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=1),
        network=Network(),
        iteration_update=GuardedIteration(dataset),
        postprocessing=save,
        val_handlers=[ReportFailures(dataset)],
    )
    with pytest.raises(BatchError) as error:
        evaluator.run()
    assert written == ["1", "3", "5"]
    assert str(error.value).splitlines() == [
        "3 of 6 cases failed; the remaining cases were processed:",
        "  2: OSError: disk full",
        "  9: RuntimeError: out of memory",
        "  unread: ValueError: cannot be read",
    ]


def test_an_evaluator_with_metrics_stops_where_there_is_no_output():
    dataset = VolumeDataset([{"image": "x", "case": "a", "value": 9}], load)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=1),
        network=Network(),
        iteration_update=GuardedIteration(dataset),
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        evaluator.run()


def test_workers_would_lose_failures():
    with pytest.raises(RuntimeError, match="num_workers to 0"):
        list(DataLoader(VolumeDataset([{"image": "x", "value": 1}], load), batch_size=1, num_workers=1))


def test_results_of_an_earlier_run_do_not_pass_for_those_of_a_case_that_fails(tmp_path):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    for path, postfix in ((scan, "seg"), *((out / f"{case}_seg.nii.gz", "seg") for case in ("bad", "good", "other"))):
        write_nifti(path, torch.zeros(1, 2, 2, 2), torch.eye(4), postfix=postfix)
    data = [{"image": "bad file", "case": "bad"}, {"image": str(scan), "case": "good", "value": 1}]
    assert [item["case"] for item in VolumeDataset(data, load, output_dir=out)] == ["good"]
    assert [path.name for path in out.iterdir()] == ["other_seg.nii.gz"]  # not processed
    # an earlier result may be what is processed
    item = {"image": str(out / "other_seg.nii.gz"), "case": "other", "value": 1}
    assert len([*VolumeDataset([item], load, output_dir=out)]) == 1
    assert (out / "other_seg.nii.gz").is_file()


def test_slices_without_a_voxel_size_are_given_one_and_told_once(tmp_path, caplog):
    for case in ("a", "b"):
        for z in range(3):
            pixels = np.random.default_rng(z).integers(0, 255, (16, 16), dtype=np.uint8)
            (tmp_path / case).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / case / f"{case}_{z}.tif")
    items = find_volumes(tmp_path, ["image"], spacing=(0.9, 0.9, 6))
    assert [item["spacing"] for item in items] == [[0.9, 0.9, 6]] * 2
    [record] = caplog.records
    assert "no voxel size in the slices of 2 scans: 0.9 x 0.9 x 6 mm as set or as in training" in record.getMessage()
    assert [item["spacing"] for item in find_volumes(tmp_path, ["image"])] == [[1, 1, 1]] * 2
    assert "1 x 1 x 1 mm assumed, so sizes and volumes are wrong" in caplog.text


@pytest.mark.parametrize("spacing", [1.9, "1.9 1.9 6", (1, 2), (1, 1, 0), (1, 1, None)], ids=str)
def test_a_spacing_of_other_than_three_sizes_is_refused(tmp_path, spacing):
    with pytest.raises(ConfigError, match=r"spacing is .*; expected three sizes in mm, e.g. --spacing"):
        find_volumes(tmp_path, ["image"], spacing=spacing)
