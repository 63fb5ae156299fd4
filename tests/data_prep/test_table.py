"""The command that drafts a table."""

import csv

import pytest
from transeg.data.table import read_table
from transeg.errors import TableError, UserError

from data_prep.options import patterns_of
from data_prep.table import draft


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    touch(folder, "A/P1_flair.nii.gz", "A/P1_t1.nii.gz", "A/P1_seg.nii.gz", "B/P2_flair.nii.gz", "B/notes.txt")
    return folder


def test_a_draft_and_its_account(scans, tmp_path, capsys):
    path = draft(scans, tmp_path / "cases.csv", group=["first=A/*"], account=tmp_path / "account.csv")
    first, second = read_table(path)
    assert (first.name, list(first.images), first.group) == ("A", ["flair", "t1"], "first")
    assert first.label == str(scans / "A/P1_seg.nii.gz")
    assert (second.name, second.label) == ("P2", None)
    with (tmp_path / "account.csv").open(newline="") as file:
        rows = {row["file"]: row["what"] for row in csv.DictReader(file)}
    assert rows == {
        "A/P1_flair.nii.gz": "flair of A",
        "A/P1_t1.nii.gz": "t1 of A",
        "A/P1_seg.nii.gz": "mask of A",
        "B/P2_flair.nii.gz": "flair of P2",
        "B/notes.txt": "skipped: not a volume",
    }
    text = capsys.readouterr().out
    for line in (
        "skipped: not a volume (1):\n  B/notes.txt",
        "5 files: 4 used, 1 skipped",
        "2 cases of 2 patients; flair 2, t1 1, label 1",
        "check: 1 cases lack a channel that others have: P2",
    ):
        assert line in text


def test_a_table_is_only_replaced_when_asked(scans, tmp_path):
    (tmp_path / "cases.csv").write_text("mine")
    with pytest.raises(UserError, match="--overwrite"):
        draft(scans, tmp_path / "cases.csv")
    assert (tmp_path / "cases.csv").read_text() == "mine"
    draft(scans, tmp_path / "cases.csv", overwrite=True)
    assert len(read_table(tmp_path / "cases.csv")) == 2


def test_doubts_write_the_account_but_no_table(scans, tmp_path):
    touch(scans, "A/P1_mask.nii.gz")
    with pytest.raises(TableError, match="2 candidates for mask"):
        draft(scans, tmp_path / "cases.csv", account=tmp_path / "account.csv")
    assert not (tmp_path / "cases.csv").exists()
    assert "A/P1_mask.nii.gz" in (tmp_path / "account.csv").read_text()
    draft(scans, tmp_path / "cases.csv", pattern=["label=*_seg*", "skip=*_mask*"])


@pytest.mark.parametrize("option", ["pattern", "domain", "group"])
def test_a_pattern_that_matches_nothing_is_a_doubt(scans, tmp_path, option):
    with pytest.raises(TableError, match="the pattern 'CO/\\*' matches no scan or mask"):
        draft(scans, tmp_path / "cases.csv", **{option: ["late=CO/*"]})


def test_several_patterns_of_a_name(scans, tmp_path):
    touch(scans, "B/P2_lesion.nii.gz")
    labels = ["label=*_seg*", "label=*_lesion*"]
    groups = ["all=A/*", "all=B/*"]
    first, second = read_table(draft(scans, tmp_path / "cases.csv", pattern=labels, group=groups, domain=["a=A/*"] * 2))
    assert (first.label, second.label) == (str(scans / "A/P1_seg.nii.gz"), str(scans / "B/P2_lesion.nii.gz"))
    assert (first.group, second.group, first.domain, second.domain) == ("all", "all", "a", "")
    with pytest.raises(TableError, match="the pattern '\\*_mask\\*' matches no scan or mask"):
        draft(scans, tmp_path / "other.csv", pattern=[*labels, "label=*_mask*"])


def test_patterns():
    assert patterns_of(["flair=*F*", "t1 = x=y", "t1=z"]) == {"flair": ["*F*"], "t1": ["x=y", "z"]}
    for wrong in (["flair"], ["=*x*"], ["a="]):
        with pytest.raises(UserError, match="--domain"):
            patterns_of(wrong, "--domain")


def test_a_spreadsheet_of_what_is_known_is_joined(scans, tmp_path, capsys):
    (tmp_path / "reading.csv").write_text("\ufeffcase;presence;Reader\nA;3-7;me\nP2.nii.gz;no;you\n")
    first, second = read_table(draft(scans, tmp_path / "cases.csv", join=tmp_path / "reading.csv"))
    assert (first.presence, second.presence) == (((3, 7),), False)
    assert "reading.csv that are not used: Reader" in capsys.readouterr().out
    (tmp_path / "grades.csv").write_text("patient,domain,split\nP2,Hard,test\n")
    first, second = read_table(draft(scans, tmp_path / "other.csv", join=tmp_path / "grades.csv"))
    assert (first.domain, second.domain, second.split) == ("", "hard", "test")


def test_faults_of_a_spreadsheet_are_listed_at_once(scans, tmp_path):
    (tmp_path / "reading.csv").write_text("case,presence\nA,perhaps\nP3,often\nP2,no\nP2,yes\n")
    with pytest.raises(TableError) as error:
        draft(scans, tmp_path / "cases.csv", join=tmp_path / "reading.csv")
    for part in ("3 fault(s)", "row 2: presence is 'perhaps'", "row 3: presence is 'often'", "row 5: case 'P2' again"):
        assert part in str(error.value)
    assert not (tmp_path / "cases.csv").exists()
    (tmp_path / "reading.csv").write_text("name,report\nA,ok\n")
    with pytest.raises(
        TableError, match=r"expected a column case or patient, .* presence, .*; the columns are: name, r"
    ):
        draft(scans, tmp_path / "cases.csv", join=tmp_path / "reading.csv")


def test_rows_without_a_scan_are_listed(scans, tmp_path, capsys):
    rows = [f"X{number:02},no\n" for number in range(12)]
    (tmp_path / "reading.csv").write_text("".join(["patient,presence\n", *rows, "P2,no\n"]))
    first, second = read_table(draft(scans, tmp_path / "cases.csv", join=tmp_path / "reading.csv"))
    assert (first.presence, second.presence) == (None, False)
    assert "no scan of 12 patients: X00, X01, X02, X03, X04, X05, X06, X07, X08, X09, ...\n" in capsys.readouterr().out
    (tmp_path / "reading.csv").write_text("".join(["case,presence\n", *rows]))
    with pytest.raises(TableError, match=r"no case of it is among the scans: X00, .*; the scans: A, P2"):
        draft(scans, tmp_path / "other.csv", join=tmp_path / "reading.csv")


@pytest.mark.parametrize("values", ["01", ("no", "yes")])
def test_a_spreadsheet_of_slices_is_refused_in_one_line(scans, tmp_path, values):
    rows = [f"{case},{z},{values[z > 5]}\n" for case in ("A", "P2") for z in range(9)]
    (tmp_path / "reading.csv").write_text("".join(["case,slice,presence\n", *rows]))
    with pytest.raises(TableError) as error:
        draft(scans, tmp_path / "cases.csv", join=tmp_path / "reading.csv")
    assert "9 rows of case 'A'; expected one row per case" in str(error.value)
    assert "12;40-73" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_presence_of_zero_and_one_is_not_taken_for_slices(scans, tmp_path, value):
    (tmp_path / "reading.csv").write_text(f"case,presence\nA,1\nP2,{value}\n")
    with pytest.raises(TableError, match="write no or yes"):
        draft(scans, tmp_path / "cases.csv", join=tmp_path / "reading.csv")
    (tmp_path / "reading.csv").write_text("case,presence\nA,1-1\nP2,no\n,yes\n")
    with pytest.raises(TableError, match="row 4: no case"):
        draft(scans, tmp_path / "cases.csv", join=tmp_path / "reading.csv")


def test_slices_get_the_voxel_size_of_the_option(scans, tmp_path, capsys):
    touch(scans, "C/C_1.tif", "C/C_2.tif")
    pattern = ["skip=*P1*", "skip=*P2*"]
    draft(scans, tmp_path / "cases.csv", pattern=pattern)
    assert "1 cases are slices without a voxel size; give --spacing" in capsys.readouterr().out
    [case] = read_table(draft(scans, tmp_path / "other.csv", pattern=pattern, spacing=(0.9, 0.9, 5.0)))
    assert case.spacing == (0.9, 0.9, 5.0)
    assert "without a voxel size" not in capsys.readouterr().out
    assert all(
        case.spacing is None
        for case in read_table(draft(scans, tmp_path / "c.csv", pattern=["skip=C*"], spacing=(1, 1, 5)))
    )
    with pytest.raises(UserError, match="--spacing 1 1 0: voxel sizes are above 0"):
        draft(scans, tmp_path / "wrong.csv", spacing=(1, 1, 0))


def test_a_patient_in_two_folders_is_pointed_out(tmp_path, capsys):
    touch(tmp_path, *(f"{folder}/p{k}.nii.gz" for folder, k in ("A1", "A2", "B2", "B3")))
    draft(tmp_path, tmp_path / "cases.csv")
    told = "check: 2 cases have the same name as others in another folder; if a patient is the same, name it so in the"
    assert f"{told} column patient: A_p2, B_p2" in capsys.readouterr().out
    touch(tmp_path / "each", "p1/scan.nii.gz", "p2/scan.nii.gz")
    draft(tmp_path / "each", tmp_path / "each.csv")
    assert "the same name" not in capsys.readouterr().out
