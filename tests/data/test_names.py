"""Roles and stems by the words of a name."""

import pytest
from transeg.data.names import canonical, folder_role, read_name, shown_channel, shown_part


@pytest.mark.parametrize(
    ("name", "role", "stem"),
    [
        ("P1_flair", "flair", "P1"),
        ("BraTS-GLI-00012-001-t2f", "flair", "BraTS-GLI-00012-001"),
        ("P1_T2_FLAIR", "flair", "P1"),
        ("P1_FLAIR_T2", "flair", "P1"),
        ("P1_T1ce", "t1c", "P1"),
        ("P1_T1_post", "t1c", "P1"),
        ("t1_mprage_sag_KM", "t1c", "mprage_sag"),
        ("AX T1 C+", "t1c", "AX"),
        ("T1_P003_flair", "flair", "T1_P003"),
        ("P1_t1n", "t1", "P1"),
        ("P1_T1_pre", "t1", "P1"),
        ("P1_T2w", "t2", "P1"),
        ("P1_pre", "pre", "P1"),
        ("P1_lge", "lge", "P1"),
        ("flair", "flair", ""),
        ("Flair_subtrMeanDivStd", "flair", "subtrMeanDivStd"),
        ("P1_image", "image", "P1"),
        ("P1", "", "P1"),
        ("P1_seg", "label", "P1"),
        ("sub-01_T1w_dseg", "label", "sub-01"),
        ("patient10_C0_manual", "label", "patient10"),
        ("P1_gt", "label", "P1"),
        ("P1_brainmask", "foreground", "P1"),
        ("P1_brain_mask", "foreground", "P1"),
        ("ct_heart_mask", "label", "ct_heart"),
        ("P1_prob", "output", "P1"),
        ("segment_7", "", "segment_7"),
        ("Müller ß 1", "", "Müller ß 1"),
    ],
)
def test_roles(name, role, stem):
    assert read_name(name)[:2] == (role, stem)


def test_a_modality_stays_in_the_stem():
    assert read_name("ct_train_1001_image") == ("image", "ct_train_1001", "ct")
    assert read_name("MRI7").modality == ""


def test_words_of_a_pattern_do_not_belong_to_the_stem():
    assert read_name("P1_perfusion_x", words=["perfusion"]).stem == "P1_x"


@pytest.mark.parametrize(
    ("name", "role"),
    [("labelsTr", "label"), ("imagesTs", "image"), ("FLAIR", "flair"), ("T1", "t1"), ("masks", "label"),
     ("P1", ""), ("P1_T1", ""), ("ct_train", ""), ("train", ""), ("brainmask", "foreground")],
)  # fmt: skip
def test_folders(name, role):
    assert folder_role(name) == role


def test_spellings_of_a_channel():
    assert [canonical(name) for name in ("T1w", "T1Gd", "FLAIR", "T2w", "CT", "image", "my channel")] == [
        "t1", "t1c", "flair", "t2", "ct", "image", "my channel",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "shown"),
    [(["t1", "flair", "t1c"], 1), (["FLAIR", "T1c"], 0), (["T1w", "T2-FLAIR"], 1), (["image"], 0)],
)
def test_pictures_show_flair_where_there_is_one(channels, shown):
    assert shown_channel(channels) == shown


def test_the_part_that_pictures_show():
    assert shown_part(["t1.nii", "flair.nii"], ["T1", "FLAIR"]) == ("flair.nii", 0)
    assert shown_part(["all.nii"], ["T1", "FLAIR"]) == ("all.nii", 1)
    assert shown_part(["ct.nii"], ["image"]) == ("ct.nii", 0)
