"""What stands in a cell of a table is found."""

from transeg.references import Reference, files_of, parse, suffix_of


def test_channels(tmp_path):
    assert parse("a/b.nii.gz#2") == Reference(parse("a/b.nii.gz").path, 2)
    assert parse("a/P1_*.tif#0").channel == 0
    assert parse("a#b.nii.gz") == Reference(parse("a#b.nii.gz").path, None)
    (tmp_path / "scan#3").touch()
    assert parse(tmp_path / "scan#3") == Reference(tmp_path / "scan#3", None)


def test_slices_are_ordered_by_their_numbers(tmp_path):
    for name in ("P1_10.tif", "P1_2.tif", "P1_1.TIF", "P1_1_mask.tif", "P1_.tif", "P12_3.tif"):
        (tmp_path / name).touch()
    assert [path.name for path in files_of(tmp_path / "P1_*.tif")] == ["P1_1.TIF", "P1_2.tif", "P1_10.tif"]
    assert files_of(tmp_path / "P2_*.tif") == files_of(tmp_path / "gone/P1_*.tif") == []


def test_files_and_folders(tmp_path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    assert files_of(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert files_of(f"{tmp_path / 'a'}#1") == [tmp_path / "a"]
    assert files_of(tmp_path / "gone.nii") == []


def test_suffixes():
    assert [suffix_of(name) for name in ("a.NII.GZ", "b.nii", "c.d.Nrrd", "e.tiff", "f.txt")] == [
        ".nii.gz", ".nii", ".nrrd", ".tiff", "",
    ]  # fmt: skip
