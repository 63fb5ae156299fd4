"""`transeg package`: bundles as zips that run with nothing but packages from PyPI."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from monai.bundle import ConfigParser

import transeg
from transeg.bundle.archive import CONTENTS, MANIFEST, json_bytes, manifest, zip_bytes
from transeg.errors import ReleaseError
from transeg.files import atomic, write_text

PACKAGE = Path(transeg.__file__).parent


def package(
    bundles: Annotated[list[Path] | None, typer.Argument(help="Folders of bundles; all of bundles/ if none.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the zips and their index.")] = Path("dist"),
    url: Annotated[str, typer.Option(help="Address that the zips will be served from, for the index.")] = "",
) -> None:
    """Write NAME_vX.Y.Z.zip of each bundle, its SHA-256 beside it, and the index model_info.json."""
    bundles = bundles or sorted(path.parents[1] for path in Path("bundles").glob("*/configs/metadata.json"))
    if not bundles:
        raise ReleaseError("no bundles/*/configs/metadata.json here; name the folders of the bundles")
    for bundle in bundles:
        typer.echo(build(bundle, out, url))


def build(bundle: Path, out: Path, url: str = "") -> Path:
    """Package one bundle.

    The zip holds the bundle in the base folder NAME/: configs with macros into other files resolved, docs, licence and
    weights, beside them the modules of `transeg` that the configs name (with what these import), and a manifest. From
    inside that folder `python -m monai.bundle` finds them, whether or not transeg is installed.

    Args:
        bundle: folder of the bundle.
        out: folder for NAME_vX.Y.Z.zip, NAME_vX.Y.Z.zip.sha256 and model_info.json, to which others' entries stay.
        url: address of the folder that the zips will be served from.

    Returns:
        Path of the zip.

    Raises:
        ReleaseError: a file is missing, or name or version cannot be released.
    """
    bundle = bundle.resolve()
    files = bundle_files(bundle)
    version = _version(bundle)
    names = re.findall(
        r"\btranseg(?:\.\w+)*", b"\n".join(v for k, v in files.items() if k.startswith("configs/")).decode()
    )
    files |= {path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes() for path in needed_modules(names)}
    files[MANIFEST] = manifest(files)

    release = f"{bundle.name}_v{version}"
    data = zip_bytes({f"{bundle.name}/{path}": content for path, content in files.items()})
    target = out / f"{release}.zip"
    with atomic(target) as partial:
        partial.write_bytes(data)
    write_text(target.with_name(target.name + ".sha256"), f"{hashlib.sha256(data).hexdigest()}  {target.name}\n")
    index = out / "model_info.json"
    entries = json.loads(index.read_text()) if index.is_file() else {}
    source = f"{url.rstrip('/')}/{target.name}" if url else target.name
    entries[release] = {"checksum": hashlib.sha1(data).hexdigest(), "source": source}  # MONAI's index has SHA-1
    write_text(index, json_bytes(dict(sorted(entries.items()))).decode())
    return target


def bundle_folder(name: str) -> Path:
    """Find a bundle in the checkout that this package lies in, or below the working directory.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    for root in (PACKAGE.parents[1], Path.cwd()):
        if (root / "bundles" / name / "configs").is_dir():
            return root / "bundles" / name
    raise FileNotFoundError(f"bundles/{name} not found: run this from a checkout of TranSeg")


def bundle_files(bundle: Path) -> dict[str, bytes]:
    """Contents of a bundle by their path in it, with macros into other files resolved.

    Raises:
        ReleaseError: a file that every bundle has is missing.
    """
    for required in ("configs/metadata.json", "LICENSE", "docs/README.md", "models/model.pt"):
        if not (bundle / required).is_file():
            hint = "train first" if required.endswith(".pt") else "every bundle has one"
            raise ReleaseError(f"{bundle / required}: no such file; {hint}")
    found = {path for pattern in CONTENTS for path in bundle.glob(pattern) if path.is_file()}
    inside = sorted(path.relative_to(bundle) for path in found)
    shown = [path for path in inside if not any(part.startswith((".", "__")) for part in path.parts)]
    return {path.as_posix(): _content(bundle / path, bundle) for path in shown}


def needed_modules(names: Iterable[str], package: Path = PACKAGE) -> list[Path]:
    """Files of a package that dotted names lead to, with everything of the package that these import.

    Args:
        names: such as "transeg.networks.resnet.ResNetGenerator"; trailing parts that are no modules are ignored.
        package: folder of the package.
    """
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        parts = waiting.pop().split(".")
        if parts[0] != package.name:
            continue
        for end in range(1, len(parts) + 1):
            place = package.parent.joinpath(*parts[:end])
            for file in (place / "__init__.py", place.with_suffix(".py")):
                if file.is_file() and file not in found:
                    found.add(file)
                    waiting += _imported(file)
    return sorted(found)


def _imported(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _content(path: Path, bundle: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".json":
        return content
    config = json.loads(content)
    released = flatten(config, bundle)
    if path.name == "metadata.json":  # transeg lies in the zip, not on PyPI
        released.get("required_packages_version", {}).pop("transeg", None)
    return content if released == json.loads(content) else json_bytes(released)


def flatten(config: Any, bundle: Path) -> Any:
    """Config without macros into other files ("%configs/train.json#network_def"), which not every reader resolves.

    Paths in them are relative to the bundle's folder. Macros within the file stay.
    """
    if isinstance(config, dict):
        return {key: flatten(value, bundle) for key, value in config.items()}
    if isinstance(config, list):
        return [flatten(value, bundle) for value in config]
    if isinstance(config, str) and config.startswith("%"):
        file, key = ConfigParser.split_path_id(config[1:])
        if file:
            try:
                return flatten(ConfigParser(ConfigParser.load_config_file(bundle / file))[key], bundle)
            except (OSError, KeyError, ValueError) as error:
                raise ReleaseError(f"{bundle}: macro {config} leads nowhere ({error})") from error
    return config


def _version(bundle: Path) -> str:
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    version = str(metadata.get("version", ""))
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f'{path}: version "{version}" is not of the form 1.2.3')
    if version not in metadata.get("changelog", {}):
        raise ReleaseError(f"{path}: the changelog lacks version {version}; say there what changed")
    if not re.fullmatch(r"\w+", bundle.name) or "_v" in bundle.name:
        raise ReleaseError(f'{bundle}: rename it; MONAI reads "_v" as the start of a version, and only \\w is portable')
    return version
