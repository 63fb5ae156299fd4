"""`transeg package`: bundles and run folders as archives that need nothing but packages from PyPI."""

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
from transeg.bundle.config import BASES, nearest, walk
from transeg.bundle.runs import WEIGHTS, bundle_name, is_run, root_expression
from transeg.errors import ReleaseError, UserError
from transeg.files import atomic, write_text

PACKAGE = Path(transeg.__file__).parent
DATA_DIR = "$@bundle_root + '/data'"
DIRECTORIES = re.compile(r"(?<![^\s'\"`=(\[])/(?:[^\s/'\"`|]+/)+")  # of an absolute path in prose


def package(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles or run folders (default: every bundle in bundles/).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the archives and their index.")] = Path("dist"),
    url: Annotated[str, typer.Option(help="Address that will serve the archives, for the index.")] = "",
    name: Annotated[
        str | None,
        typer.Option(help="Name of the release (default: the bundle's; of a run, its bundle's)."),
    ] = None,
) -> None:
    """Package each bundle as a single archive that runs without this repository: NAME_vX.Y.Z.zip.

    Writes its SHA-256 beside it, and the index model_info.json.
    """
    bundles = bundles or find_bundles(Path("bundles"))
    if not bundles:
        raise ReleaseError("no bundles/*/configs/metadata.json here; name a bundle or run folder")
    if name and len(bundles) > 1:
        raise ReleaseError(f"--name {name}: name a single bundle or run folder")
    failed = []
    for bundle in bundles:
        try:
            typer.echo(build(bundle, out, url, name))
        except UserError as error:
            failed.append(str(error))
    if failed:
        raise ReleaseError("\n".join(failed))


def build(bundle: Path, out: Path, url: str = "", name: str | None = None) -> Path:
    """Package one bundle or run folder.

    The archive holds the bundle in the folder NAME/: configs with macros into other files resolved, docs, licence and
    weights, beside them the modules of `transeg` that the configs name (with what these import), and a manifest. From
    inside that folder `python -m monai.bundle` finds them, whether or not transeg is installed.

    Args:
        bundle: bundle or run folder.
        out: folder for NAME_vX.Y.Z.zip, NAME_vX.Y.Z.zip.sha256 and model_info.json, which keeps its other entries.
        url: address of the folder that the archives will be served from.
        name: of the release; by default that of the bundle, or of the bundle that the run was started from.

    Returns:
        Path of the archive.

    Raises:
        ReleaseError: a file is missing, a path is one of this machine, name or version cannot be released, or a run
            would replace another archive.
    """
    bundle = bundle.resolve()
    name = name or bundle_name(bundle)
    files = {path: _portable(path, content, name) for path, content in bundle_files(bundle).items()}
    release = f"{name}_v{_version(bundle, name)}"
    configs = b"\n".join(content for path, content in files.items() if path.startswith("configs/")).decode()
    modules = needed_modules(re.findall(r"\btranseg(?:\.\w+)*", configs), PACKAGE)
    files |= {path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes() for path in modules}
    files[MANIFEST] = manifest(files)

    data = zip_bytes({f"{name}/{path}": content for path, content in files.items()})
    target = out / f"{release}.zip"
    if is_run(bundle) and target.is_file() and target.read_bytes() != data:
        raise ReleaseError(
            f"{target} is there and holds something else; give this run a name by --name, or delete that archive"
        )
    with atomic(target) as partial:
        partial.write_bytes(data)
    write_text(target.with_name(target.name + ".sha256"), f"{hashlib.sha256(data).hexdigest()}  {target.name}\n")
    index = out / "model_info.json"
    entries = json.loads(index.read_text()) if index.is_file() else {}
    source = f"{url.rstrip('/')}/{target.name}" if url else target.name
    entries[release] = {"checksum": hashlib.sha1(data).hexdigest(), "source": source}  # MONAI's index has SHA-1
    write_text(index, json_bytes(dict(sorted(entries.items()))).decode())
    return target


def find_bundles(folder: Path) -> list[Path]:
    """Bundles in a folder, by name."""
    return sorted(path.parents[1] for path in folder.glob("*/configs/metadata.json"))


def bundle_folder(name: str) -> Path:
    """Find a bundle in the checkout that contains this package, or below the working directory.

    Raises:
        ReleaseError: it is in neither place.
    """
    roots = [root / "bundles" for root in (PACKAGE.parents[1], Path.cwd())]
    for root in roots:
        if (root / name / "configs").is_dir():
            return root / name
    known = sorted({path.parent.name for root in roots for path in root.glob("*/configs")})
    if known:
        raise ReleaseError(f"no bundle {name}{nearest(name, known) or '; there are ' + ', '.join(known)}")
    raise ReleaseError(f"bundles/{name} not found; run this in a checkout of TranSeg")


def bundle_root(name: str) -> Path:
    """Folder of a bundle or run folder, given by its path or, for a bundle, by its name.

    Raises:
        ReleaseError: no such bundle.
    """
    path = Path(name)
    if (path / "configs").is_dir():
        return path
    if path.suffix == ".zip" and path.is_file():
        raise ReleaseError(f"{name}: a package; unpack it and name its folder")
    if path.name != name:
        raise ReleaseError(f"{name}: no bundle or run folder (it has no configs); check the path")
    return bundle_folder(name)


def bundle_files(bundle: Path) -> dict[str, bytes]:
    """Contents of a bundle or run folder by their path in it, with macros into other files resolved.

    Raises:
        ReleaseError: a file that every bundle has is missing.
    """
    for required in ("configs/metadata.json", "LICENSE", "docs/README.md", WEIGHTS.as_posix()):
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
    flat = flatten(config, bundle)
    return content if flat == config else json_bytes(flat)


def _portable(path: str, content: bytes, name: str) -> bytes:
    """Content of a file in the archive: without paths of this machine, as part of a bundle of this name.

    Raises:
        ReleaseError: a setting that is a path of this machine.
    """
    if path.endswith(".md"):
        return DIRECTORIES.sub("", content.decode()).encode()
    if not path.endswith(".json"):
        return content
    config = json.loads(content)
    made = dict(config)
    if path == "configs/metadata.json":
        packages = config.get("required_packages_version", {})  # transeg lies in the archive, not on PyPI
        made["required_packages_version"] = {key: value for key, value in packages.items() if key != "transeg"}
        made |= {"bundle": name} if "bundle" in config else {}
    elif path in {f"configs/{base}" for base in BASES}:
        made["bundle_root"] = root_expression([".", f"bundles/{name}"], Path(path).stem)
        made |= {"dataset_dir": DATA_DIR} if _is_local(config.get("dataset_dir")) else {}
    for key, value in walk(made):
        if _is_local(value):
            raise ReleaseError(f"{path}: {key}: {value} is a path of this machine; make it relative to @bundle_root")
    return content if made == config else json_bytes(made)


def _is_local(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()


def flatten(config: Any, bundle: Path) -> Any:
    """Config without macros into other files ("%configs/train.json#network_def"), which not every reader resolves.

    Their paths are relative to the bundle's folder. Macros within the file are kept.

    Raises:
        ReleaseError: a macro that leads nowhere.
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


def _version(bundle: Path, name: str) -> str:
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    version = str(metadata.get("version", ""))
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f'{path}: version "{version}" is not of the form 1.2.3')
    if version not in metadata.get("changelog", {}):
        raise ReleaseError(f"{path}: no version {version} in the changelog; add what changed")
    if not re.fullmatch(r"\w+", name) or "_v" in name:
        raise ReleaseError(
            f'{name}: rename it by --name; MONAI reads "_v" as the start of a version, and only \\w is portable'
        )
    return version
