import hashlib
import json

import pytest
from transeg.data.training_cases import add_cases, prepared_cases, read_cases, study_cases, unseen, use_in, uses_of
from transeg.errors import DataError


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def data(tmp_path):
    """Prepared data of six scans; the preparation has hashed two of them."""
    for name in "abcdef":
        (tmp_path / f"{name}.nii.gz").write_text(name)
    lists = {
        "training": [{"image": "s.npy", "case": "a"}, {"image": "s.npy", "case": "e"}],
        "training_volumes": [{"image": "gone.nii.gz", "case": "a"}, {"image": ["b.nii.gz", "c.nii.gz"], "case": "bc"}],
        "validation_volumes": [{"image": "d.nii.gz", "case": "d"}],
        "test_volumes": [{"image": "e.nii.gz", "case": "e"}, {"image": "f.nii.gz", "case": "f"}],
        "preparation": {"sha256": {"a": [digest("a")], "f": [digest("f")]}},
    }
    (tmp_path / "datalist.json").write_text(json.dumps(lists))
    return tmp_path / "datalist.json"


def test_cases_of_prepared_data(data):
    assert prepared_cases(data) == {
        "training": sorted(map(digest, "abc")),
        "validation": [digest("d")],
        "transductive": [digest("e")],
    }


def test_records_are_added_up(data, tmp_path):
    run = tmp_path / "run"
    assert read_cases(run) is None
    add_cases(run, None, {})
    assert uses_of([run]) is None
    add_cases(run, prepared_cases(data))
    add_cases(run, study_cases([{"image": str(tmp_path / "d.nii.gz")}], [{"image": str(tmp_path / "a.nii.gz")}]))
    text = (run / "models" / "training_cases.json").read_text()
    assert "nii" not in text
    uses = uses_of([run])
    found = {name: use_in(uses, [digest(name)]) for name in "abdef"}
    assert found == {"a": "training", "b": "training", "d": "training", "e": "transductive", "f": ""}
    assert use_in(uses, [digest("e"), digest("b")]) == "training"
    assert uses_of([run, tmp_path / "other"]) is None


def test_evaluation_on_training_cases_is_refused(data, tmp_path, caplog):
    run = tmp_path / "run"
    item = {name: {"image": str(tmp_path / f"{name}.nii.gz"), "case": f"case {name}"} for name in "adf"}
    assert unseen([item["a"]], data, [run]) == [item["a"] | {"seen": ""}]  # no record
    add_cases(run, prepared_cases(data))
    with pytest.raises(DataError, match=r"run: its weights were trained on 1 of the 2 cases: case a; .*--force True"):
        unseen([item["a"], item["f"]], data, [run])
    forced = unseen([item["a"], item["f"]], data, [run], force=True)
    assert forced == [item["a"] | {"seen": "training"}, item["f"] | {"seen": ""}]
    assert unseen([item["d"]], data, [run]) == [item["d"] | {"seen": "validation"}]
    assert "validated on 1 of the 1 cases: case d" in caplog.text
    slices = [{"image": "images/a.npy", "index": k, "case": "a"} for k in range(3)]
    with pytest.raises(DataError, match="trained on 1 of the 1 cases: a"):  # by what the preparation hashed
        unseen(slices, data, [run])
    assert unseen([slices[0] | {"case": "f"}], data, [run]) == [slices[0] | {"case": "f", "seen": ""}]
