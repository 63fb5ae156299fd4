import json

import numpy as np
import pytest
from monai.data import load_decathlon_datalist
from transeg.data.datalist import (
    read_datalist,
    read_known,
    read_labelled,
    read_validation,
    write_datalist,
    write_stack,
)
from transeg.errors import DatalistError


def write(folder, **lists):
    return write_datalist(
        folder / "datalist.json",
        lists,
        name="n",
        description="d",
        recipe={"method": "genseg", "channels": ["FLAIR", "T2"], "labels": ["background", "tumour"]},
        preparation={"seed": 3},
    )


def test_what_is_written_reads_back_with_absolute_paths_also_by_monai(tmp_path):
    (tmp_path / "a.npy").touch()
    item = {"image": "a.npy", "index": 4, "case": "x", "weight": 0.5}
    path = write(tmp_path, training=[item, item], test=[], test_volumes=[{"image": ["a.npy", "a.npy"]}])
    read = read_datalist(path, "training")
    assert read == [{**item, "image": str(tmp_path / "a.npy")}] * 2 == load_decathlon_datalist(path)
    assert read_datalist(path, "test") == []
    assert read_datalist(path, "test_volumes") == [{"image": [str(tmp_path / "a.npy")] * 2}]
    fields = json.loads(path.read_text())
    assert (fields["numTraining"], fields["numTest"]) == (2, 0)
    assert fields["modality"] == {"0": "FLAIR", "1": "T2"}
    assert fields["labels"] == {"0": "background", "1": "tumour"}
    assert fields["recipe"] == {"method": "genseg", "channels": ["FLAIR", "T2"], "labels": ["background", "tumour"]}
    assert fields["preparation"] == {"seed": 3}


def test_a_folder_of_the_same_name_changes_no_other_field(tmp_path):
    (tmp_path / "a.npy").touch()
    (tmp_path / "ct").mkdir()
    path = write(tmp_path, training=[{"image": "a.npy", "case": "ct", "modality": "ct"}])
    assert read_datalist(path, "training") == [{"image": str(tmp_path / "a.npy"), "case": "ct", "modality": "ct"}]


def test_missing_datalist_says_how_to_make_one(tmp_path):
    with pytest.raises(DatalistError, match=r"none\.json: no such datalist; make one with .*data_prep"):
        read_datalist(tmp_path / "none.json", "training")


def test_a_table_is_to_be_prepared_first(tmp_path):
    (tmp_path / "cases.csv").touch()
    with pytest.raises(DatalistError, match=r"cases\.csv: training and evaluation need a prepared folder.*prepare"):
        read_datalist(tmp_path / "cases.csv" / "datalist.json", "training")


def test_broken_json_names_the_file(tmp_path):
    (tmp_path / "datalist.json").write_text('{"training": [')
    with pytest.raises(DatalistError, match=r"datalist\.json: not a JSON file"):
        read_datalist(tmp_path / "datalist.json", "training")


def test_missing_key_names_the_available_ones(tmp_path):
    with pytest.raises(DatalistError, match=r'no list "test"; available: training \(1\), validation \(0\)'):
        read_datalist(write(tmp_path, training=[{"image": "a"}], validation=[]), "test")


@pytest.mark.parametrize(
    "entry", [{"image": "b.npy"}, {"image": ["a.npy", "b.npy"]}, {"image": "a.npy", "label": "b.npy"}]
)
def test_missing_file_names_entry_and_file(tmp_path, entry):
    (tmp_path / "a.npy").touch()
    path = write(tmp_path, training=[{"image": "a.npy"}, {**entry, "case": "c7"}])
    with pytest.raises(DatalistError, match=rf'entry 1 \(case "c7"\) of training does not exist: {tmp_path}/b\.npy'):
        read_datalist(path, "training")


def test_stack_is_written_in_chunks(tmp_path):
    chunks = (np.full((n, 2, 2), n) for n in (1, 2, 3))
    write_stack(tmp_path / "deep" / "s.npy", chunks, (6, 2, 2), np.uint8)
    stack = np.load(tmp_path / "deep" / "s.npy")
    assert stack.dtype == np.uint8
    assert stack[:, 0, 0].tolist() == [1, 2, 2, 3, 3, 3]


def test_incomplete_stack_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"s\.npy: 2 slices given for a stack of 3"):
        write_stack(tmp_path / "s.npy", [np.zeros((2, 4))], (3, 4), np.uint8)
    assert list(tmp_path.iterdir()) == []


def test_references_exist_like_files(tmp_path):
    for name in ("P1/P1_1.tif", "P1/P1_2.tif", "P1/P1_1_mask.tif", "dicom/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    item = {"image": ["P1/P1_*.tif#0", "P1/P1_*.tif#1", "dicom"], "label": "P1/P1_*_mask.tif", "mask": "P1/P1_*.tif#2"}
    path = write(tmp_path, training=[item])
    [read] = read_datalist(path, "training")
    assert read["image"] == [str(tmp_path / image) for image in item["image"]]
    assert (read["label"], read["mask"]) == (str(tmp_path / "P1/P1_*_mask.tif"), str(tmp_path / "P1/P1_*.tif#2"))
    path = write(tmp_path, training=[item | {"mask": "P2/P2_*.tif"}])
    with pytest.raises(DatalistError, match="mask of entry 0"):
        read_datalist(path, "training")


def test_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "datalist.json").write_bytes(b'\xef\xbb\xbf{"training": []}')
    assert read_datalist(tmp_path / "datalist.json", "training") == []


def test_validation_of_both_domains(tmp_path):
    (tmp_path / "a.npy").touch()
    item = {"image": "a.npy", "index": 0}
    path = write(tmp_path, validation=[item, item], validation_absence=[item])
    assert [item["presence"] for item in read_validation(path)] == [True, True, False]
    path = write(tmp_path, validation=[item])
    assert [item["presence"] for item in read_validation(path)] == [True]


def test_only_what_can_be_scored(tmp_path, caplog):
    (tmp_path / "a.nii").touch()
    plain = {"image": "a.nii"}
    masked, told = plain | {"label": "a.nii"}, plain | {"presence": [[2, 3]]}
    path = write(tmp_path, test_volumes=[plain, masked, told], training_volumes=[plain], validation_volumes=[])
    assert [sorted(item) for item in read_labelled(path, "test_volumes")] == [["image", "label"]]
    both = ("test_volumes", "training_volumes")
    assert len(read_labelled(path, both)) == 1
    assert "3 of 4 cases of test_volumes, training_volumes have no label" in caplog.text
    assert "2 of 3 cases of test_volumes have no label" in caplog.text
    assert [item["presence"] for item in read_known(path, "test_volumes")] == [[[2, 3]]]
    with pytest.raises(DatalistError, match="no case of training_volumes has a label"):
        read_labelled(path, "training_volumes")
    with pytest.raises(DatalistError, match=r"validation_volumes is empty; prepare the data with --test above 0"):
        read_labelled(path, "validation_volumes")
    with pytest.raises(DatalistError, match="no case of training_volumes has an image-level label"):
        read_known(path, "training_volumes")
