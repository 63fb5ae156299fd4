"""`transeg doctor` on phantoms of every bundle: without a fault, and with each that the benchmark plants."""

import json
from pathlib import Path

import pytest
from PIL import Image
from transeg.cli import app
from transeg.doctor.command import examine
from transeg.doctor.scans import read_data
from transeg.errors import DataError
from typer.testing import CliRunner

from benchmarks.doctor import CLEAN, FAULTS, Fault, alarms, check_fault, make_clean


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("doctor")
    make_clean(root)
    return root


@pytest.mark.parametrize("name", CLEAN)
def test_data_without_a_fault_raise_no_alarm(clean, name):
    assert alarms(examine(read_data(clean / name))) == []


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name.replace(" ", "_") for fault in FAULTS])
def test_a_planted_fault_is_found_and_named(clean: Path, fault: Fault):
    found, findings = check_fault(clean, fault)
    assert found is not None, [(finding.kind, finding.text) for finding in findings]
    assert all(case in found.text for case in found.cases[:1])


def test_notes_only_exit_with_0_and_errors_with_1(clean, tmp_path):
    run = CliRunner().invoke(app, ["doctor", str(clean / "thigh"), "--out", str(tmp_path / "good")])
    assert run.exit_code == 0
    assert "0 errors, 0 warnings" in run.output
    content = json.loads((clean / "thigh" / "datalist.json").read_text())
    case = content["test"][0]["case"]
    content["training"] += [item for item in content["test"] if item["case"] == case]
    leaking = clean / "leaking"
    leaking.mkdir()
    (leaking / "images").symlink_to(clean / "thigh" / "images")
    (leaking / "labels").symlink_to(clean / "thigh" / "labels")
    (leaking / "datalist.json").write_text(json.dumps(content))
    run = CliRunner().invoke(app, ["doctor", str(leaking), "--out", str(tmp_path / "bad")])
    assert run.exit_code == 1
    assert run.output.startswith(f"error: patient {case} is in test and training")
    record = json.loads((tmp_path / "bad" / "doctor.json").read_text())
    first = record["findings"][0]
    assert (first["level"], first["kind"], first["cases"]) == ("error", "patient_leak", [case])
    assert min(Image.open(tmp_path / "bad" / first["picture"]).size) > 100


def test_what_is_neither_prepared_nor_a_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither prepared data"):
        read_data(tmp_path)
