"""Public data sets, as they are distributed."""

import json

import pytest
from transeg.data.finder import find_cases, survey


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root):
    """Per case: images, label, patient, domain, group; paths below the folder."""
    findings = find_cases(root)

    def below(reference):
        return reference and reference.removeprefix(f"{root}/")

    return {
        case.name: (
            {name: below(image) for name, image in case.images.items()},
            below(case.label),
            case.patient,
            case.domain,
            case.group,
        )
        for case in findings.cases
    }


@pytest.mark.parametrize(
    ("pattern", "sequences", "patient"),
    [
        ("HGG/{0}/{0}_{1}.nii.gz", ("flair", "t1ce", "t1", "t2"), "Brats17_TCIA_186_1"),  # 2017 to 2021
        ("{0}/{0}-{1}.nii.gz", ("t2f", "t1c", "t1n", "t2w"), "BraTS-GLI-00012"),  # 2023, 2024
        ("LGG/{0}/VSD.Brain.XX.O.{1}.5/VSD.Brain.XX.O.{1}.5.mha", ("MR_Flair", "MR_T1c", "MR_T1", "MR_T2"), "x_pat7"),
    ],
)
def test_brats(tmp_path, pattern, sequences, patient):
    case = {"BraTS-GLI-00012": "BraTS-GLI-00012-001", "x_pat7": "x_pat7_1"}.get(patient, patient)
    label = pattern.format(case, "seg" if "VSD" not in pattern else "OT")
    touch(tmp_path, *(pattern.format(case, name) for name in sequences), label)
    images = {
        name: pattern.format(case, file) for name, file in zip(("flair", "t1c", "t1", "t2"), sequences, strict=True)
    }
    group = pattern[:3] if pattern[1:3] == "GG" else ""
    assert found(tmp_path) == {case: (images, label, patient, "", group)}


def test_grades_of_brats_2020(tmp_path):
    touch(
        tmp_path,
        "BraTS20_Training_001/BraTS20_Training_001_flair.nii",
        "BraTS20_Training_001/BraTS20_Training_001_t1.nii",
    )
    (tmp_path / "name_mapping.csv").write_text("Grade,BraTS_2020_subject_ID\nLGG,BraTS20_Training_001\n")
    assert found(tmp_path)["BraTS20_Training_001"][4] == "LGG"
    assert (tmp_path / "name_mapping.csv", "grades of cases") in survey(tmp_path).account


def test_bids(tmp_path):
    anat = "sub-01/ses-{0}/anat/sub-01_ses-{0}_{1}.nii.gz"
    for session in (1, 2):
        touch(tmp_path, *(anat.format(session, name) for name in ("FLAIR", "ce-gadolinium_T1w", "T1w", "T2w")))
    touch(tmp_path, anat.format(1, "dseg"), "dataset_description.json", "sub-02/anat/sub-02_T1w.nii.gz")
    touch(tmp_path, "derivatives/x/sub-02/anat/sub-02_desc-lesion_mask.nii.gz")
    touch(tmp_path, "derivatives/x/sub-02/anat/sub-02_desc-preproc_T1w.nii.gz")
    touch(tmp_path, "derivatives/x/sub-02/anat/sub-02_space-MNI_dseg.nii.gz")
    channels = {"flair": "FLAIR", "t1c": "ce-gadolinium_T1w", "t1": "T1w", "t2": "T2w"}
    assert found(tmp_path) == {
        "sub-01_ses-1": ({k: anat.format(1, v) for k, v in channels.items()}, anat.format(1, "dseg"), "sub-01", "", ""),
        "sub-01_ses-2": ({k: anat.format(2, v) for k, v in channels.items()}, None, "sub-01", "", ""),
        "sub-02": (
            {"t1": "sub-02/anat/sub-02_T1w.nii.gz"},
            "derivatives/x/sub-02/anat/sub-02_desc-lesion_mask.nii.gz",
            "sub-02",
            "",
            "",
        ),
    }


def test_bids_masks_of_scans_in_folders_of_grades(tmp_path):
    touch(tmp_path, "healthy/sub-000_T1w.nii.gz", "healthy/sub-000_T1w_dseg.nii.gz", "severe/sub-003_T1w.nii.gz")
    assert found(tmp_path) == {
        "sub-000": (
            {"t1": "healthy/sub-000_T1w.nii.gz"},
            "healthy/sub-000_T1w_dseg.nii.gz",
            "sub-000",
            "",
            "healthy",
        ),
        "sub-003": ({"t1": "severe/sub-003_T1w.nii.gz"}, None, "sub-003", "", "severe"),
    }


def test_brain_masks_of_bids_are_foregrounds(tmp_path):
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "derivatives/sub-1/anat/sub-1_desc-brain_mask.nii.gz")
    [case] = find_cases(tmp_path).cases
    assert case.foreground == str(tmp_path / "derivatives/sub-1/anat/sub-1_desc-brain_mask.nii.gz")
    assert case.label is None


@pytest.mark.parametrize("listed", ["./imagesTr/BRATS_001.nii.gz", "imagesTr/BRATS_001.nii"])
def test_decathlon(tmp_path, listed):
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz", "imagesTs/BRATS_485.nii.gz")
    touch(tmp_path, "imagesTr/._BRATS_001.nii.gz")
    content = {
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "training": [{"image": listed, "label": listed.replace("images", "labels")}],
        "test": ["./imagesTs/BRATS_485.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    places = {"flair": 0, "t1c": 2, "t1": 1, "t2": 3}
    assert found(tmp_path) == {
        "BRATS_001": (
            {name: f"imagesTr/BRATS_001.nii.gz#{k}" for name, k in places.items()},
            "labelsTr/BRATS_001.nii.gz",
            "BRATS_001",
            "",
            "",
        ),
        "BRATS_485": (
            {name: f"imagesTs/BRATS_485.nii.gz#{k}" for name, k in places.items()},
            None,
            "BRATS_485",
            "",
            "",
        ),
    }


@pytest.mark.parametrize("here", [".", "imagesTs", "imagesTs/BRATS_485.nii.gz"])
def test_channels_of_a_part_of_a_data_set(tmp_path, monkeypatch, here):
    touch(tmp_path, "imagesTs/BRATS_485.nii.gz", "nnunet/imagesTs/P_2_0000.nii.gz", "nnunet/imagesTs/P_2_0001.nii.gz")
    content = {"modality": {"0": "FLAIR", "1": "T1gd"}, "training": [], "test": ["./imagesTs/BRATS_485.nii.gz"]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    content = {"channel_names": {"0": "FLAIR", "1": "T1gd"}, "file_ending": ".nii.gz"}
    (tmp_path / "nnunet" / "dataset.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path / "imagesTs" if here == "." else tmp_path)
    [case] = find_cases(here).cases
    assert case.name == "BRATS_485"
    place = "" if here == "." else "imagesTs/"
    assert case.images == {"flair": f"{place}BRATS_485.nii.gz#0", "t1c": f"{place}BRATS_485.nii.gz#1"}
    monkeypatch.chdir(tmp_path / "nnunet" / "imagesTs")
    [case] = find_cases(".").cases
    assert case.name == "P_2"
    assert case.images == {"flair": "P_2_0000.nii.gz", "t1c": "P_2_0001.nii.gz"}


def test_decathlon_of_one_modality(tmp_path):
    touch(tmp_path, "imagesTr/spleen_2.nii.gz", "labelsTr/spleen_2.nii.gz")
    training = [{"image": "./imagesTr/spleen_2.nii.gz", "label": "./labelsTr/spleen_2.nii.gz"}]
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "training": training}))
    assert found(tmp_path)["spleen_2"][:2] == ({"ct": "imagesTr/spleen_2.nii.gz"}, "labelsTr/spleen_2.nii.gz")


def test_nnunet(tmp_path):
    touch(tmp_path, "imagesTr/P_1_0000.nrrd", "imagesTr/P_1_0001.nrrd", "labelsTr/P_1.nrrd", "imagesTs/P_2_0000.nrrd")
    content = {"channel_names": {"0": "T2", "1": "ADC"}, "file_ending": ".nrrd"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert found(tmp_path) == {
        "P_1": ({"t2": "imagesTr/P_1_0000.nrrd", "adc": "imagesTr/P_1_0001.nrrd"}, "labelsTr/P_1.nrrd", "P_1", "", ""),
        "P_2": ({"t2": "imagesTs/P_2_0000.nrrd"}, None, "P_2", "", ""),
    }


def test_nnunet_without_names(tmp_path):
    touch(
        tmp_path, "imagesTr/P_1_0000.nii.gz", "imagesTr/P_2_0000.nii.gz", "labelsTr/P_1.nii.gz", "labelsTr/P_2.nii.gz"
    )
    assert {case: fields[:2] for case, fields in found(tmp_path).items()} == {
        f"P_{n}": ({"image": f"imagesTr/P_{n}_0000.nii.gz"}, f"labelsTr/P_{n}.nii.gz") for n in (1, 2)
    }
    touch(tmp_path, "imagesTr/P_2_0001.nii.gz")
    assert list(found(tmp_path)["P_2"][0]) == ["channel0", "channel1"]


def test_cases_with_numbers_are_no_channels(tmp_path):
    touch(tmp_path, *(f"imagesTr/case_000{n}.nii.gz" for n in range(3)), "labelsTr/case_0000.nii.gz")
    assert list(found(tmp_path)) == ["case_0000", "case_0001", "case_0002"]


def test_another_dataset_json_is_left_alone(tmp_path):
    touch(tmp_path, "P1.nii.gz")
    for content in ('{"name": "x"}', "[]", "not json", '{"modality": "MR", "training": []}'):
        (tmp_path / "dataset.json").write_text(content)
        assert list(found(tmp_path)) == ["P1"]


def test_lits(tmp_path):
    touch(tmp_path, "Batch 1/volume-0.nii", "Batch 1/segmentation-0.nii", "Batch 2/volume-1.nii.gz", "volume-2.nii")
    touch(tmp_path, "labels/segmentation-2.nii")
    assert found(tmp_path) == {
        "volume-0": ({"ct": "Batch 1/volume-0.nii"}, "Batch 1/segmentation-0.nii", "volume-0", "", ""),
        "volume-1": ({"ct": "Batch 2/volume-1.nii.gz"}, None, "volume-1", "", ""),
        "volume-2": ({"ct": "volume-2.nii"}, "labels/segmentation-2.nii", "volume-2", "", ""),
    }
    labels = {case.name: (case.label, case.foreground) for case in find_cases(tmp_path).cases}
    assert labels["volume-1"] == (None, None)
    assert labels["volume-2"] == (str(tmp_path / "labels/segmentation-2.nii"),) * 2  # it tells the liver, too


def test_mmwhs(tmp_path):
    stem = "{0}_train/{0}_train_1001_{1}.nii.gz"
    touch(tmp_path, *(stem.format(m, kind) for m in ("ct", "mr") for kind in ("image", "label")))
    assert found(tmp_path) == {
        f"{m}_train_1001": ({"image": stem.format(m, "image")}, stem.format(m, "label"), f"{m}_train_1001", m, "")
        for m in ("ct", "mr")
    }


def test_cardiac_contrasts(tmp_path):
    touch(tmp_path, "C0/patient10_C0.nii.gz", "C0/patient10_C0_manual.nii.gz", "LGE/patient10_LGE.nii.gz")
    assert found(tmp_path) == {
        "patient10_C0": ({"image": "C0/patient10_C0.nii.gz"}, "C0/patient10_C0_manual.nii.gz", "patient10", "c0", ""),
        "patient10_LGE": ({"image": "LGE/patient10_LGE.nii.gz"}, None, "patient10", "lge", ""),
    }


def test_gliomas_of_kaggle(tmp_path):
    case = "TCGA_DU_7014_19860618"
    touch(tmp_path, *(f"kaggle_3m/{case}/{case}_{z}{mask}.tif" for z in (1, 2, 10) for mask in ("", "_mask")))
    stack = f"kaggle_3m/{case}/{case}_*.tif"
    images = {"t1": f"{stack}#0", "flair": f"{stack}#1", "t1c": f"{stack}#2"}
    label = f"kaggle_3m/{case}/{case}_*_mask.tif"
    assert found(tmp_path) == {case: (images, label, "TCGA_DU_7014", "", "")}


def test_sarcoma(tmp_path):
    touch(tmp_path, *(f"STS_001/{name}.nii.gz" for name in ("MR_T1_image", "MR_T1_mask", "CT_image", "CT_mask")))
    assert found(tmp_path) == {
        "STS_001_CT": ({"image": "STS_001/CT_image.nii.gz"}, "STS_001/CT_mask.nii.gz", "STS_001", "ct", ""),
        "STS_001_MR": ({"image": "STS_001/MR_T1_image.nii.gz"}, "STS_001/MR_T1_mask.nii.gz", "STS_001", "mr", ""),
    }


def test_thighs(tmp_path):
    touch(
        tmp_path,
        *(f"{grade}/P{n}{mask}.nii.gz" for n, grade in enumerate(("Healthy", "severe")) for mask in ("", "_mask")),
    )
    assert [(case, fields[4]) for case, fields in found(tmp_path).items()] == [("P0", "healthy"), ("P1", "severe")]
