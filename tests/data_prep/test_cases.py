"""A data set is written whole or not at all."""

import json

import pytest
from transeg.errors import UserError

from data_prep.cases import DATALIST, new_data_set


def write(out, stacks, name="knees", fail=None):
    with new_data_set(out, name, "genseg") as folder:
        (folder / "images").mkdir()
        for stack in stacks:
            (folder / "images" / f"{stack}.npy").write_text(stack)
        items = [{"image": f"images/{stack}.npy"} for stack in stacks]
        (folder / DATALIST).write_text(json.dumps({"name": name, "recipe": {"method": "genseg"}, "training": items}))
        if fail is not None:
            raise fail


def found(out):
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fail", [UserError("no slice"), KeyboardInterrupt(), OSError("disk full")], ids=repr)
def test_an_earlier_data_set_stays_until_the_new_one_is_whole(tmp_path, fail):
    out = tmp_path / "a" / "out"
    with pytest.raises(type(fail)):
        write(out, ["a"], fail=fail)
    assert not (tmp_path / "a").exists()
    write(out, ["a", "b"])
    (out / "images" / "mine.npy").write_text("mine")
    before = found(out)
    with pytest.raises(type(fail)):
        write(out, ["b", "c"], fail=fail)
    assert found(out) == before
    write(out, ["b", "c"])
    assert found(out).keys() == {DATALIST, "images/b.npy", "images/c.npy", "images/mine.npy"}


def test_what_a_killed_command_left_is_no_part_of_the_next(tmp_path):
    (tmp_path / ".part" / "images").mkdir(parents=True)
    (tmp_path / ".part" / "images" / "left.npy").touch()
    write(tmp_path, ["a"])
    assert found(tmp_path).keys() == {DATALIST, "images/a.npy"}


def test_another_data_set_is_not_replaced(tmp_path):
    write(tmp_path, ["a"])
    before = found(tmp_path)
    with pytest.raises(UserError, match="holds the data set 'knees' for genseg; delete it or choose another --out"):
        write(tmp_path, ["b"], name="hips")
    assert found(tmp_path) == before
