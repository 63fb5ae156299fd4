"""Write what the training scans of a released bundle are like, by which its inference recognises others.

The preparation does this for the data of a training run. Released weights were trained on phantoms, which anyone can
make again:

    python -m data_prep.phantoms thigh --out THIGH --cases 32
    python -m data_prep.familiarity thigh THIGH
    transeg make thigh

(`brain --cases 32` for genseg and pathogan, `heart --cases 30` with `HEART/ct_train HEART/mr_train` for cardiac.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from monai.bundle import ConfigParser
from tqdm import tqdm
from transeg import methods
from transeg.bundle.make import format_config
from transeg.bundle.package import bundle_folder
from transeg.data.volumes import find_volumes
from transeg.files import write_text
from transeg.method import find_method
from transeg.transforms.familiarity import ALL, fit_references, scan_features

from data_prep.cases import run_command


def describe(
    method: Annotated[str, typer.Argument(help="Method of the bundle.")],
    folders: Annotated[list[Path], typer.Argument(help="Folders of scans like those that it was trained on.")],
) -> Path:
    """Write `familiarity.json` of a method from scans, preprocessed as by the inference of its bundle."""
    config = ConfigParser()
    config.read_config(str(bundle_folder(find_method(method).bundle) / "configs" / "inference.json"))
    preprocess, channels = (config.get_parsed_content(key) for key in ("preprocessing", "channels"))
    features, domains = [], []
    for item in tqdm([item for folder in folders for item in find_volumes(folder, channels)], disable=None):
        image = preprocess(item)["image"]
        features.append(scan_features(image))
        domains.append(image.meta.get("domain", ALL))
    path = Path(methods.__path__[0]) / method / "familiarity.json"
    write_text(path, format_config(fit_references(features, domains)) + "\n")
    for domain, reference in json.loads(path.read_text()).items():
        print(f"{domain}: {reference['scans']} scans, limit {reference['limit']}")
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    run_command(describe)
