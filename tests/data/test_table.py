"""The table of cases: what is written reads back, and every fault is named with its row."""

import pytest
from transeg.data.table import Case, format_presence, parse_presence, read_table, table_channels, write_table
from transeg.errors import TableError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(root, text, encoding="utf-8"):
    path = root / "cases.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_what_is_written_reads_back(tmp_path):
    touch(tmp_path, "in/a.nii.gz", "in/b,1.nii.gz", "in/m.nii.gz", "in/dicom/1", "in/s_1.tif", "in/s_2.tif")
    root = tmp_path / "in"
    cases = [
        Case(
            "a", {"flair": f"{root}/a.nii.gz", "t1": f"{root}/b,1.nii.gz"}, f"{root}/m.nii.gz", patient="p", group="HGG"
        ),
        Case("b", {"flair": f"{root}/dicom"}, foreground=f"{root}/m.nii.gz", presence=((3, 4), (7, 7)), patient="p"),
        Case("Ä c", {"t1": f"{root}/s_*.tif#1"}, presence=False, patient="Ä c", domain="ct", spacing=(1.9, 1.9, 5.0)),
    ]
    path = write_table(tmp_path / "out/cases.csv", cases)
    assert path.read_text(encoding="utf-8").splitlines()[0] == (
        "case,patient,flair,t1,label,foreground,presence,domain,group,spacing"
    )
    assert "../in/a.nii.gz" in path.read_text(encoding="utf-8")
    assert read_table(path) == cases
    assert table_channels(cases) == ["flair", "t1"]


def test_tables_of_spreadsheets(tmp_path):
    touch(tmp_path, "sub/a.nii.gz")
    path = write(tmp_path, "Case;T1;Presence\r\np1;sub\\a.nii.gz;YES\r\n;;\r\n", "utf-8-sig")
    [case] = read_table(path)
    assert (case.name, case.images, case.presence) == ("p1", {"T1": str(tmp_path / "sub/a.nii.gz")}, True)


def test_every_fault_with_its_row(tmp_path):
    touch(tmp_path, "a.nii.gz")
    path = write(
        tmp_path,
        "case,patient,flair,label,presence,split,spacing\n"
        "p1,A,a.nii.gz,gone.nii.gz,maybe,training,1 2\n"
        "p1,A,a.nii.gz,,,test,\n"
        "x/y,B,,,,later,\n",
    )
    with pytest.raises(TableError) as error:
        read_table(path)
    for part in (
        "9 fault(s)",
        "row 2: label: no such file, series or slices: gone.nii.gz",
        "row 2: presence is 'maybe'",
        "row 2: spacing is '1 2'",
        "row 3: case 'p1' is listed 2 times",
        "row 4: case name 'x/y'",
        "row 4: no image",
        "row 4: split is 'later'",
        "patient 'A' is in test and training",
        f"rows 2, 3 have the same image: {tmp_path / 'a.nii.gz'}",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("case,flair\n", "no case in it"),
        ("name,flair\np,a\n", 'no column "case"'),
        ("case,label\np,a\n", "no column for an image"),
        ("case,flair,flair\np,a,b\n", "several columns named flair"),
        ("case,,flair\np,a,b\n", "a column without a name"),
        ("case,flair\np,a,b\n", "row 2 has 3 cells for 2 columns"),
        ('case,flair\np,"a\n', "a quote may be missing"),
        ("case\0", "not a text file"),
    ],
)
def test_no_table(tmp_path, text, fault):
    with pytest.raises(TableError, match=fault):
        read_table(write(tmp_path, text))
    with pytest.raises(TableError, match="save it as CSV UTF-8"):
        read_table(write(tmp_path, "case,ä", "latin-1"))
    with pytest.raises(TableError, match="cannot be read"):
        read_table(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("text", "presence"),
    [("", None), ("yes", True), ("No", False), ("40-73", ((40, 73),)), ("12; 40-73", ((12, 12), (40, 73)))],
)
def test_presence(text, presence):
    assert parse_presence(text) == presence
    assert parse_presence(format_presence(presence)) == presence


def test_presence_of_zero_and_one_is_not_taken_for_slices(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz")
    with pytest.raises(TableError, match="presence is 0 or 1, which are slices; write no or yes"):
        read_table(write(tmp_path, "case,flair,presence\na,a.nii.gz,1\nb,b.nii.gz,0\n"))
    one = [Case("a", {"flair": f"{tmp_path}/a.nii.gz"}, presence=((1, 1),), patient="a")]
    assert read_table(write_table(tmp_path / "one.csv", one)) == one


@pytest.mark.parametrize("text", ["perhaps", "7-3", "-3", "3-"])
def test_no_presence(text):
    with pytest.raises(ValueError, match='expected "yes", "no" or slices'):
        parse_presence(text)


def test_items():
    case = Case(
        "p", {"flair": "/d/f.nii", "t1": "/d/t.nii"}, "/d/l.nii", "/d/b.nii", ((1, 2),), domain="ct", spacing=(1, 1, 3)
    )
    assert case.item(("T1w", "FLAIR")) == {
        "image": ["/d/t.nii", "/d/f.nii"],
        "label": "/d/l.nii",
        "mask": "/d/b.nii",
        "case": "p",
        "presence": ((1, 2),),
        "domain": "ct",
        "spacing": [1, 1, 3],
    }
    assert "label" not in case.item(("T1",), labelled=False)
    lacking = case.item(("FLAIR", "T2"))
    assert lacking["image"] == "/d/f.nii"
    assert "lacks T2; FLAIR, T2 are needed, and known are flair (/d/f.nii), t1 (/d/t.nii)" in lacking["problem"]
    assert "problem" not in case.item(("T1",))
    assert case.missing(("FLAIR", "T2")) == ["T2"]
    with pytest.raises(TableError, match="p: which of flair, t1 is image"):
        case.item(("image",))


def test_an_only_image_of_another_name_is_taken(tmp_path):
    case = Case("p", {"image": "/d/x.nii"})
    assert case.item(("CT",))["image"] == case.item(("FLAIR", "T1"))["image"] == "/d/x.nii"
    assert not case.missing(("FLAIR", "T1"))
    assert case.is_stack(("FLAIR", "T1"))
    assert not case.is_stack(("CT",))
    assert Case("p", {"t1": "/d/x.nii"}).missing(("FLAIR", "T1")) == ["FLAIR"]


def test_items_relative_to_a_folder(tmp_path):
    case = Case("p", {"t1": f"{tmp_path}/in/x_*.tif#1"})
    assert case.item(("T1",), tmp_path / "out")["image"] == "../in/x_*.tif#1"


def test_one_sequence_may_stand_for_another_of_its_case(tmp_path):
    touch(tmp_path, "a.nii.gz")
    [case] = read_table(write(tmp_path, "case,flair,t1\np1,a.nii.gz,a.nii.gz\n"))
    assert case.images["flair"] == case.images["t1"]


def test_columns_that_are_no_channels_are_named_once(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "m.nii.gz")
    rows = "a,a.nii.gz,m.nii.gz,m.nii.gz,yes,good\nb,b.nii.gz,m.nii.gz,m.nii.gz,no,bad\n"
    with pytest.raises(TableError) as error:
        read_table(write(tmp_path, f"case,flair,mask,lable,presense,comment\n{rows}"))
    assert str(error.value).splitlines()[1:] == [
        "  column 'mask' is no channel: name it label, if it is what to segment, or foreground, if it is where to look",
        "  column 'lable' is no channel: did you mean label?",
        "  column 'presense' is no channel: did you mean presence?",
        "  column 'comment' is no channel: none of its 2 cells is a file, series or slices; correct the paths, or "
        "remove it",
    ]


def test_an_only_column_that_is_no_channel_is_one_fault(tmp_path):
    with pytest.raises(TableError) as error:
        read_table(write(tmp_path, "case,flair\na,gone.nii.gz\nb,lost.nii.gz\n"))
    [fault] = str(error.value).splitlines()[1:]
    assert "column 'flair' is no channel: none of its 2 cells is a file" in fault


@pytest.mark.parametrize("channel", ["flair", "T1w", "ct", "post", "image", "C0", "Dixon water"])
def test_any_other_name_is_a_channel(tmp_path, channel):
    touch(tmp_path, "a.nii.gz")
    assert table_channels(read_table(write(tmp_path, f"case,{channel}\na,a.nii.gz\n"))) == [channel]
