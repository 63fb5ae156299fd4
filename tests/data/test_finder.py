"""Every file below a folder is accounted for, and what names do not decide is refused."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from transeg.data.finder import find_cases, survey
from transeg.errors import DataError, TableError

SEQUENCES = ("flair", "t1ce", "t1", "t2")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def save(path, array, description=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.eye(4))
    image.header["descrip"] = description
    nib.save(image, path)
    return path


def noise(seed=0, dtype=np.int16):
    return np.random.default_rng(seed).normal(500, 100, (12, 10, 6)).astype(dtype)


def regions(dtype=np.uint8):
    mask = np.zeros((12, 10, 6), dtype)
    mask[3:9, 2:8, 1:5] = 2
    mask[5:7, 4:6, 2:4] = 1
    return mask


def account(root, **options):
    """What each file is, by its path below the folder."""
    found = survey(root, **options).account
    texts = {path.relative_to(root).as_posix(): what for path, what in found}
    assert len(texts) == len(found)
    return texts


def images(root, case):
    return {name: str(path).removeprefix(f"{root}/") for name, path in case.images.items()}


def test_every_file_once(tmp_path):
    touch(
        tmp_path, "P1/flair.nii.gz", "P1/t1.nii", "P1/seg.nii.gz", "P1/brainmask.NII.GZ", "P1/notes.txt", ".hidden.nii"
    )
    touch(
        tmp_path, ".git/x.nii.gz", "P2_T1w.nrrd", "P2_prob.nii.gz", "P2_old.hdr", "P2_old.img", "shot.png", "P9_seg.nii"
    )
    save(tmp_path / "P2_translation.nii.gz", noise(), b"transeg translation")
    save(tmp_path / "P2_T1w_edited.nii.gz", noise(), b"transeg mask")
    (tmp_path / "P3_t1.mhd").write_text("ObjectType = Image\nElementDataFile = P3_t1.zraw\n")
    touch(tmp_path, "P3_t1.zraw")
    (tmp_path / "gone.nii.gz").symlink_to("nowhere.nii.gz")
    analyze = "skipped: Analyze format, which has no orientation; convert it to NIfTI"
    assert account(tmp_path) == {
        ".git/x.nii.gz": "skipped: hidden",
        ".hidden.nii": "skipped: hidden",
        "P1/brainmask.NII.GZ": "foreground of P1",
        "P1/flair.nii.gz": "flair of P1",
        "P1/notes.txt": "skipped: not a volume",
        "P1/seg.nii.gz": "mask of P1",
        "P1/t1.nii": "t1 of P1",
        "P2_T1w.nrrd": "t1 of P2",
        "P2_T1w_edited.nii.gz": "skipped: written by transeg",
        "P2_old.hdr": analyze,
        "P2_old.img": analyze,
        "P2_prob.nii.gz": "skipped: a former result",
        "P2_translation.nii.gz": "skipped: written by transeg",
        "P3_t1.mhd": "t1 of P3",
        "P3_t1.zraw": "t1 of P3",
        "P9_seg.nii": "skipped: mask without a scan",
        "gone.nii.gz": "skipped: broken link",
        "shot.png": "skipped: single picture; a volume is made of numbered slices",
    }


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "store/P1/flair.nii.gz", "data/P2/flair.nii.gz")
    (tmp_path / "data/P1").symlink_to(tmp_path / "store/P1", target_is_directory=True)
    (tmp_path / "data/P2/up").symlink_to(tmp_path / "data", target_is_directory=True)
    assert account(tmp_path / "data") == {
        "P1/flair.nii.gz": "flair of P1",
        "P2/flair.nii.gz": "flair of P2",
        "P2/up": "skipped: link to a folder above it",
    }


def test_a_manifest_lists_own_outputs(tmp_path):
    touch(tmp_path, "a.nii.gz", "a_seg.nii.gz", "b_seg.nii.gz", "b.nii.gz")
    (tmp_path / "manifest.json").write_text(json.dumps({"outputs": ["a_seg.nii.gz"]}))
    assert account(tmp_path)["a_seg.nii.gz"] == "skipped: written by transeg"
    assert account(tmp_path)["b_seg.nii.gz"] == "mask of b"


@pytest.mark.parametrize(
    ("files", "cases"),
    [
        (("P1/t1.nii.gz", "P2/t1.nii.gz"), ["P1", "P2"]),
        (("P1/scan.nii.gz", "P2/scan.nii.gz"), ["P1", "P2"]),
        (("P1/anat/t1.nii.gz", "P2/anat/t1.nii.gz"), ["P1_anat", "P2_anat"]),
        (("P1/a.nii.gz", "P1/b.nii.gz", "P2/a.nii.gz", "P2/b.nii.gz"), ["P1_a", "P1_b", "P2_a", "P2_b"]),
        (("flair.nii.gz", "t1c.nii.gz", "t1.nii.gz"), ["root"]),
        (("P1/3_T1_MPRAGE.nii.gz", "P1/5_FLAIR_tra.nii.gz"), ["P1"]),
        (("FLAIR/P1.nii.gz", "FLAIR/P2.nii.gz", "T1/P1.nii.gz", "T1/P2.nii.gz"), ["P1", "P2"]),
        (("P1/FLAIR/17.nii.gz", "P1/T1/18.nii.gz", "P1/seg/19.nii.gz"), ["P1"]),
        (("imagesTr/P1.nii.gz", "labelsTr/P1.nii.gz", "imagesTs/P2.nii.gz"), ["P1", "P2"]),
        (("P1.nii.gz", "labels/final/P1.nii.gz", "labels/original/P1.nii.gz"), ["P1"]),
        (("ct.nii.gz", "ct_labels.nii.gz", "mr.nii.gz"), ["root_ct", "root_mr"]),
        (("2024/Scan ß 1.nii.gz", "a,b/Scan ß 1.nii.gz"), ["2024", "a,b"]),
        (("a_1.png", "a_2.png", "a_10.png", "b/1.tif", "b/2.tif"), ["a", "b"]),
    ],
)
def test_names_of_cases(tmp_path, files, cases):
    touch(tmp_path / "root", *files)
    found = survey(tmp_path / "root")
    assert [case.name for case in found.cases] == cases
    assert not found.doubts
    assert [what for _, what in found.skipped] == ["skipped: a label proposed by a model"] * (
        "labels/original" in str(files)
    )


def test_channels_of_folders_and_stems(tmp_path):
    touch(tmp_path, "P1/FLAIR/17.nii.gz", "P1/T1/18.nii.gz", "P1/seg/19.nii.gz")
    [case] = find_cases(tmp_path).cases
    assert images(tmp_path, case) == {"flair": "P1/FLAIR/17.nii.gz", "t1": "P1/T1/18.nii.gz"}
    assert case.label == str(tmp_path / "P1/seg/19.nii.gz")


def test_two_modalities_are_domains_of_the_same_patient(tmp_path):
    touch(tmp_path, "P1/ct.nii.gz", "P1/mr.nii.gz", "P1/mr_seg.nii.gz")
    ct, mr = find_cases(tmp_path).cases
    assert (ct.domain, ct.patient, ct.images, ct.label) == ("ct", "P1", {"image": str(tmp_path / "P1/ct.nii.gz")}, None)
    assert (mr.domain, mr.patient, mr.label) == ("mr", "P1", str(tmp_path / "P1/mr_seg.nii.gz"))
    (tmp_path / "P1/ct.nii.gz").unlink()
    assert [case.domain for case in find_cases(tmp_path).cases] == [""]


def test_masks_go_to_the_case_that_they_can_only_be_of(tmp_path):
    touch(tmp_path, "P1/P1_flair.nii.gz", "P1/P1_t1.nii.gz", "P1/tumour_seg.nii.gz", "P1/brainmask.nii.gz")
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "a_lesion_seg.nii.gz", "c_seg.nii.gz")
    found = account(tmp_path)
    assert found["P1/tumour_seg.nii.gz"] == "mask of P1"
    assert found["P1/brainmask.nii.gz"] == "foreground of P1"
    assert found["a_lesion_seg.nii.gz"] == "mask of a"
    assert found["c_seg.nii.gz"] == "skipped: mask without a scan"
    save(tmp_path / "crop/ct_heart_crop.nii.gz", noise())
    save(tmp_path / "crop/mask.nii.gz", np.zeros((20, 20, 20), np.uint8))
    assert account(tmp_path / "crop")["mask.nii.gz"] == "skipped: mask without a scan"


@pytest.mark.parametrize(
    ("scan", "mask", "role"),
    [
        ("T1/STS_001_T1", "T1/STS_001_T1_seg", "mask"),
        ("FLAIR/a_FLAIR", "FLAIR/a_FLAIR_mask", "mask"),
        ("bSSFP/p1_C0", "bSSFP/p1_C0_manual", "mask"),
        ("C0/T1/p1", "C0/T1/p1_manual", "mask"),
        ("P1/FLAIR/17", "P1/FLAIR/seg", "mask"),
        ("T1/P1_T2", "T1/P1_seg", "mask"),
        ("images/P1", "masks/P1_brainmask", "foreground"),
    ],
)
@pytest.mark.parametrize("root", ["C0", "data"])
def test_masks_beside_scans_in_a_folder_of_their_sequence(tmp_path, root, scan, mask, role):
    touch(tmp_path / root, f"{scan}.nii.gz", f"{mask}.nii.gz")
    [case] = find_cases(tmp_path / root).cases
    assert account(tmp_path / root)[f"{mask}.nii.gz"] == f"{role} of {case.name}"
    assert account(tmp_path / root)[f"{scan}.nii.gz"].endswith(f" of {case.name}")


def test_points_in_time_named_like_sequences_keep_their_masks(tmp_path):
    touch(tmp_path, *(f"P1/{time}/{name}.nii.gz" for time in ("T1", "T2") for name in ("flair", "seg")))
    cases = find_cases(tmp_path).cases
    assert [case.label for case in cases] == [str(tmp_path / f"P1/{time}/seg.nii.gz") for time in ("T1", "T2")]


@pytest.mark.parametrize(
    ("files", "doubt"),
    [
        (("P1_T1.nii.gz", "P1_T1.nii"), "P1: 2 candidates for t1: P1_T1.nii, P1_T1.nii.gz"),
        (("P1.nii.gz", "P1_seg.nii.gz", "P1_mask.nii.gz"), "P1: 2 candidates for mask: P1_mask.nii.gz, P1_seg.nii.gz"),
        (("x/a.nii.gz", "x/b.nii.gz", "x/mask.nii.gz"), "x/mask.nii.gz: a mask of which case in its folder (a, b)?"),
        (("T1/a_T1.nii.gz", "T1/b_T1_seg.nii.gz"), "for 1 mask(s): {root}/T1/b_T1_seg.nii.gz (looked for b)"),
        (("T1/a_T1.nii.gz", "T1/a_seg.nii.gz", "T2/a_T2.nii.gz", "T2/a_seg.nii.gz"), "a: 2 candidates for mask"),
        (("x/a.nii.gz", "x/b_mask.nii.gz"), "x/b_mask.nii.gz: a mask of which case in its folder (a)?"),
    ],
)
def test_doubts(tmp_path, files, doubt):
    touch(tmp_path, *files)
    with pytest.raises(TableError) as error:
        find_cases(tmp_path)
    assert doubt.format(root=tmp_path) in str(error.value)
    assert "--pattern" in str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_scan_that_looks_like_a_mask_is_doubted(tmp_path, dtype, suffix):
    save(tmp_path / f"P1_T1{suffix}", noise(dtype=dtype))
    save(tmp_path / f"P2_T1{suffix}", noise(1, dtype=dtype))
    assert len(find_cases(tmp_path).cases) == 2
    save(tmp_path / f"P2_T1_lesion{suffix}", regions(dtype))
    with pytest.raises(TableError, match=r"P2_T1_lesion\.nii.*: named like a scan .* its voxels look like a mask"):
        find_cases(tmp_path)
    found = find_cases(tmp_path, patterns={"label": "*lesion*"})
    assert [case.label is not None for case in found.cases] == [False, True]
    assert len(find_cases(tmp_path, patterns={"skip": "*lesion*"}).cases) == 2


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_masks_of_other_formats_are_doubted(tmp_path, suffix):
    for name, array in (("P1_T1", noise()), ("P2_T1_lesion", np.kron(regions(), np.ones((4, 4, 4), np.uint8)))):
        path = tmp_path / f"{name}{suffix}"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), useCompression=True)
        path.rename(path.with_suffix(suffix.upper()))
    with pytest.raises(TableError, match=r"1 doubt\(s\):\n.*P2_T1_lesion"):
        find_cases(tmp_path)


def test_masks_under_the_name_of_a_public_data_set_are_doubted(tmp_path):
    save(tmp_path / "sub-1/anat/sub-1_lesion.nii.gz", regions())
    with pytest.raises(TableError, match="its voxels look like a mask"):
        find_cases(tmp_path)


def test_scans_of_few_values_are_no_masks(tmp_path):
    coarse = (noise() // 50).astype(np.uint8)
    coarse[:3] = 0
    save(tmp_path / "P1.nii.gz", coarse)
    save(tmp_path / "P2.nii.gz", np.ones((4, 4, 4), np.int16))
    assert len(find_cases(tmp_path).cases) == 2


def test_broken_files_are_found(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no gzip")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"short"))
    save(tmp_path / "c.nii.gz", noise())
    (tmp_path / "c.nii.gz").write_bytes((tmp_path / "c.nii.gz").read_bytes()[:500])
    assert [case.name for case in find_cases(tmp_path).cases] == ["a", "b", "c"]


def test_patterns_domains_and_groups(tmp_path):
    touch(
        tmp_path,
        "hard/P1_x7.nii.gz",
        "hard/P1_T1.nii.gz",
        "hard/P1_tumour.nii.gz",
        "easy/P2_x7.nii.gz",
        "easy/P2_old.nii.gz",
    )
    found = find_cases(
        tmp_path,
        patterns={"t1": "*_x7*", "label": "*_tumour.nii*", "skip": "easy/*_old*"},
        domains={"hard": "hard/*", "easy": "easy/*"},
        groups={"A": "*P1*"},
    )
    first, second = found.cases
    assert images(tmp_path, first) == {"t1": "hard/P1_x7.nii.gz"}
    assert first.label == str(tmp_path / "hard/P1_tumour.nii.gz")
    assert (first.domain, first.group, second.domain, second.group) == ("hard", "A", "easy", "")
    assert account(tmp_path, patterns={"t1": "*_x7*"})["hard/P1_T1.nii.gz"] == (
        "skipped: not what the pattern of t1 matches"
    )
    with pytest.raises(TableError, match="P1 matches the patterns of a and b"):
        find_cases(tmp_path, domains={"a": "*P1*", "b": "*hard*"})


def test_spellings_of_a_channel_share_their_patterns(tmp_path):
    touch(tmp_path, "P1_x7.nii.gz", "P2_x8.nii.gz")
    found = find_cases(tmp_path, patterns={"T1": "*_x7*", "t1w": ["*_x8*"]})
    assert [(case.name, *case.images) for case in found.cases] == [("P1", "t1"), ("P2", "t1")]


def test_one_file_and_slices(tmp_path):
    touch(tmp_path, "P1.nii.gz", "P2.nii.gz", "x/P3_1.tif", "x/P3_2.tif")
    assert [case.name for case in find_cases(tmp_path / "P1.nii.gz").cases] == ["P1"]
    [case] = find_cases(tmp_path / "x" / "P3_*.tif").cases
    assert (case.name, case.images) == ("P3", {"image": str(tmp_path / "x/P3_*.tif")})
    with pytest.raises(DataError, match="no such file or folder"):
        find_cases(tmp_path / "P4.nii.gz")
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"notes\.txt: not a volume; name a NIfTI, NRRD or MHA file, or the folder of"):
        find_cases(tmp_path / "notes.txt")


def write_series(folder, description="", uid="1.2.3", study="1.2", patient="", count=3, suffix=".dcm", at=0):
    """A series of `count` slices."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetImageIO("GDCMImageIO")
    for z in range(at, at + count):
        slice_ = SimpleITK.GetImageFromArray(np.full((1, 8, 8), z, np.int16))[:, :, 0]
        tags = {"0020|000e": uid, "0020|000d": study, "0008|103e": description, "0010|0020": patient, "0008|0060": "MR"}
        tags |= {"0008|0018": f"{uid}.{z}", "0020|0032": f"0\\0\\{z * 3}", "0020|0037": "1\\0\\0\\0\\1\\0"}
        for tag, value in tags.items():
            slice_.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"IM{z:04d}{suffix}"))
        writer.Execute(slice_)
    return folder


def test_a_dicom_series_is_a_folder(tmp_path):
    write_series(tmp_path / "P1", suffix="")
    write_series(tmp_path / "P2", uid="1.3", study="1.3")
    touch(tmp_path, "P1/DICOMDIR", "P1/readme.txt")
    found = find_cases(tmp_path)
    assert {case.name: images(tmp_path, case) for case in found.cases} == {"P1": {"image": "P1"}, "P2": {"image": "P2"}}
    assert account(tmp_path)["P1/IM0001"] == "image of P1"
    assert account(tmp_path)["P1/DICOMDIR"] == "skipped: index of DICOM files"
    [case] = find_cases(tmp_path / "P1").cases
    assert (case.name, case.images) == ("P1", {"image": str(tmp_path / "P1")})
    [case] = find_cases(tmp_path / "P2" / "IM0001.dcm").cases
    assert case.images == {"image": str(tmp_path / "P2")}


def test_series_of_a_study_are_channels(tmp_path):
    for patient in ("A", "B"):
        for number, description in enumerate(("t2_FLAIR", "T1 post gd", "T1 tra", "localizer")):
            series = f"1.{ord(patient)}.{number}"
            folder = tmp_path / patient / "study" / str(number)
            write_series(folder, description, series, f"1.{ord(patient)}", f"ID {patient}")
    found = find_cases(tmp_path)
    assert {case.name: (case.patient, images(tmp_path, case)) for case in found.cases} == {
        f"{p}_study": (f"ID {p}", {"flair": f"{p}/study/0", "t1c": f"{p}/study/1", "t1": f"{p}/study/2"})
        for p in ("A", "B")
    }
    assert {what for _, what in found.skipped} == {"skipped: series 'localizer' is no known sequence"}


def test_patients_of_one_study_number_stay_apart(tmp_path):
    """Some anonymisers write the same number into all studies."""
    for patient, modality in (("A", "CT"), ("B", "MR")):
        write_series(tmp_path / patient / modality, uid=f"1.{ord(patient)}", study="1.2", patient=patient)
    found = find_cases(tmp_path)
    assert {case.name: images(tmp_path, case) for case in found.cases} == {
        "A": {"image": "A/CT"},
        "B": {"image": "B/MR"},
    }


def test_series_named_by_their_folders(tmp_path):
    for number, name in enumerate(("FLAIR", "T1")):
        write_series(tmp_path / "P1" / name, "", f"1.{number}", f"2.{number}")
    [case] = find_cases(tmp_path).cases
    assert (case.name, images(tmp_path, case)) == ("P1", {"flair": "P1/FLAIR", "t1": "P1/T1"})


def test_two_series_in_one_folder_are_refused(tmp_path):
    write_series(tmp_path, "FLAIR", "1.1")
    write_series(tmp_path, "T1", "1.2", at=10)
    with pytest.raises(
        TableError, match=r"2 DICOM series in one folder \('FLAIR', 'T1'\); put each series into a folder"
    ):
        find_cases(tmp_path)


def test_slices_exported_as_series_of_their_own_are_one_volume(tmp_path):
    for z in range(3):
        write_series(tmp_path, "T1", f"1.{z}", f"2.{z}", count=1, at=z)
    [case] = find_cases(tmp_path).cases
    assert case.images == {"t1": str(tmp_path)}


def test_doubts_about_other_roles_do_not_matter(tmp_path):
    touch(tmp_path, "P1_flair.nii.gz", "P1_seg.nii.gz", "P1_mask.nii.gz")
    assert find_cases(tmp_path, roles=["FLAIR"]).cases[0].name == "P1"
    with pytest.raises(TableError):
        find_cases(tmp_path, roles=["FLAIR", "label"])


def test_no_scan(tmp_path):
    touch(tmp_path, "a.txt", "a_seg.nii.gz")
    with pytest.raises(DataError, match=r"no scan found .*: 1 not a volume, 1 mask without a scan"):
        find_cases(tmp_path)
