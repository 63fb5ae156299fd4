"""Which folders may segment along, and that they do: by the command, with a record of their weights."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from transeg.bundle.ensemble import check_member, read_networks
from transeg.bundle.package import find_bundles
from transeg.bundle.segment import run_segmentation
from transeg.cli import app
from transeg.errors import DataError
from transeg.files import digest_of, read_run
from typer.testing import CliRunner

from tests.bundles.test_workflows import write_volumes

from .conftest import ROOT, change, recipe_of

BUNDLES = find_bundles(ROOT / "bundles")
HEART = ROOT / "bundles" / "cardiac_ct_mr_segmentation"  # the quickest
LEFT = shutil.ignore_patterns("docs", "baselines")


@pytest.fixture
def other(tmp_path):
    """A copy of a bundle with other weights."""
    root = shutil.copytree(HEART, tmp_path / "other", ignore=LEFT)
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    generator = torch.Generator().manual_seed(0)
    moved = {
        key: value + 0.3 * value.std() * torch.randn(value.shape, generator=generator)
        for key, value in weights.items()
        if value.numel() > 1
    }
    torch.save(weights | moved, root / "models" / "model.pt")
    return root


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_bundle_may_join_itself_and_no_other(bundle):
    recipe = recipe_of(bundle)
    [network] = read_networks([bundle], recipe)
    assert not network.training
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, weights[key].to(value)) for key, value in network.state_dict().items())
    for another in BUNDLES:
        if another != bundle:
            with pytest.raises(DataError, match=rf"ensemble: .*{another.name} is of another recipe"):
                read_networks([another], recipe)


@pytest.mark.parametrize("key", ["channels", "labels", "pixdim", "axis"])
def test_what_differs_is_named(other, key):
    recipe = recipe_of(other)
    check_member(other, recipe | {"familiarity": {}})  # its scans may be others
    change(other / "configs" / "inference.json", lambda config: config["recipe"].update({key: ["another"]}))
    with pytest.raises(DataError, match=rf"another recipe \({key} is \['another'\] there and "):
        check_member(other, recipe)


def test_the_command_means_the_probabilities_of_all_runs(other, tmp_path):
    scans = write_volumes(tmp_path / "scans", 1) / "anisotropic.nii.gz"
    options = ["--no-pictures", "--modality", "ct", "--device", "cpu", "--save_probability", "True"]

    def segment(name, *more):
        command = ["segment", str(scans), "--out", str(tmp_path / name), *options, *map(str, more)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        return nib.load(tmp_path / name / "anisotropic_prob.nii.gz").get_fdata()

    alone, another = segment("alone", "--bundle", HEART), segment("another", "--bundle", other)
    both = segment("both", "--bundle", HEART, "--ensemble", other)
    assert np.abs(alone - another).max() > 0.05
    np.testing.assert_allclose(both, (alone + another) / 2, atol=1e-5)
    manifest = json.loads((tmp_path / "both" / "manifest.json").read_text())
    assert manifest["made_with"]["ensemble"] == [digest_of(other / "models" / "model.pt")]
    assert "ensemble" not in json.loads((tmp_path / "alone" / "manifest.json").read_text())["made_with"]
    runs = json.loads((tmp_path / "both" / "runs.json").read_text())["runs"]
    assert runs[read_run(tmp_path / "both")]["ensemble"] == {str(other): digest_of(other / "models" / "model.pt")}
    assert len({read_run(tmp_path / name) for name in ("alone", "another", "both")}) == 3

    refused = CliRunner().invoke(
        app,
        ["segment", str(scans), "--bundle", str(HEART), "--out", str(tmp_path / "no"), "--ensemble", BUNDLES[0].name],
    )
    assert refused.exit_code == 1
    assert "is of another recipe" in refused.output
    assert not (tmp_path / "no" / "manifest.json").exists()


def test_a_folder_without_weights(other, tmp_path):
    (other / "models" / "model.pt").unlink()
    scans = write_volumes(tmp_path / "scans", 1)
    with pytest.raises(DataError, match="no weights; name a bundle or run folder that has them"):
        run_segmentation(scans, HEART, tmp_path / "out", {"ensemble": [str(other)]})
