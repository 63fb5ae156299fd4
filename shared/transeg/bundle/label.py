"""`transeg label`: MONAI Label with bundles as local models, for a folder of images."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from transeg.bundle.archive import json_bytes
from transeg.bundle.package import bundle_files, bundle_folder, find_bundles
from transeg.bundle.runs import WEIGHTS, bundle_name
from transeg.errors import LabelError

HOST = "127.0.0.1"
INSTALL = "pip install -c constraints.txt -e '.[label]' && pip install --no-deps monailabel==0.8.5 pydicom-seg==0.4.1"
TRAIN = "configs/train.json"
STAND_IN = Path(__file__).parent / "without_torchvision"
PATIENCE = 10  # seconds before a process that does not end is killed


def label(
    studies: Annotated[Path, typer.Option(help="Folder of the images; labels go to its subfolder labels.")],
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="Bundle name, bundle or run folder (repeatable). Default: every bundle in bundles/."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on (localhost only).")] = 8000,
    app: Annotated[Path, typer.Option(help="Folder for MONAI Label's app; weights trained there are kept.")] = Path(
        "label_app"
    ),
) -> None:
    """Serve bundles with MONAI Label: infer, label and train from 3D Slicer, OHIF or any of its clients."""
    folders = _by_name([_folder(name) for name in bundle] if bundle else find_bundles(Path("bundles")))
    count = _check(studies, folders, port)
    bundles = {name: for_label(bundle_files(folder)) for name, folder in folders.items()}
    root = _add_app(app)
    for name, files in bundles.items():
        _add(files, root / "model" / name)
    typer.echo(f"http://{HOST}:{port}/ with {', '.join(bundles)} for {count} studies in {studies}; stop with Ctrl+C")
    raise typer.Exit(_serve(_command(root, studies, list(bundles), port)))


def _folder(name: str) -> Path:
    return Path(name) if (Path(name) / "configs").is_dir() else bundle_folder(name)


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Bundles by the name of their model.

    Raises:
        LabelError: two of the same name.
    """
    named: dict[str, Path] = {}
    for folder in folders:
        name = bundle_name(folder)
        if name in named:
            raise LabelError(
                f"{named[name]} and {folder} would both be the model {name}; give one, or start another server "
                "with another --app and --port"
            )
        named[name] = folder.resolve()
    return named


def for_label(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """A bundle whose training runs lie beside its weights, which they replace only by better ones, see `RunFolder`."""
    train = json.loads(files[TRAIN])
    train |= {"promote": True, "run_dir": train["run_dir"] | {"runs": "$@bundle_root + '/runs'"}}
    return {**files, TRAIN: json_bytes(train)}


def _check(studies: Path, bundles: Mapping[str, Path], port: int) -> int:
    """Number of studies.

    Raises:
        LabelError: anything that would stop the server or leave it without work.
    """
    if not bundles:
        raise LabelError("no bundles/*/configs/metadata.json here; name a bundle by --bundle NAME_OR_FOLDER")
    if not studies.is_dir():
        raise LabelError(f"{studies}: no such folder; give a folder of NIfTI files by --studies")
    count = sum(1 for path in studies.glob("*.nii*") if not path.name.startswith("."))
    if not count:
        raise LabelError(f"{studies}: no studies (.nii, .nii.gz) in it; MONAI Label does not look into subfolders")
    if not 1 <= port <= 65535:
        raise LabelError(f"port {port}: choose one from 1 to 65535 by --port")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LabelError(f"port {port} cannot be used ({error.strerror}); choose another by --port") from error
    return count


def _add(files: Mapping[str, bytes], model: Path) -> None:
    """Copy a bundle to its folder in the app; weights that were trained there are kept."""
    for path, content in files.items():
        target = model / path
        if path == WEIGHTS.as_posix() and target.is_file():
            if target.read_bytes() != content:
                typer.echo(f"{target}: weights of earlier training runs are kept; delete it to use the bundle's")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _add_app(folder: Path) -> Path:
    """Copy MONAI Label's app for bundles from its package, unless it exists."""
    if find_spec("monailabel") is None:
        raise LabelError(f"MONAI Label is not installed here; run: {INSTALL}")
    app = folder / "monaibundle"
    if not (app / "main.py").is_file():
        command = [sys.executable, "-m", "monailabel.main", "apps", "--download", "--name", app.name]
        done = subprocess.run([*command, "--output", folder], capture_output=True, text=True, check=False)
        if not (app / "main.py").is_file():
            raise LabelError(f"{app}: MONAI Label could not create it: {(done.stdout + done.stderr).strip()[-500:]}")
    return app


def _command(app: Path, studies: Path, names: Sequence[str], port: int) -> list[str]:
    """Offline: models are those in the app's folder, nothing is downloaded."""
    conf = {"models": ",".join(names), "zoo_source": "local", "sam2": "false"}
    options = [part for key, value in conf.items() for part in ("--conf", key, value)]
    server = [sys.executable, "-m", "monailabel.main", "start_server", "--uvicorn_app", "transeg.bundle.label_app:app"]
    return [*server, "--app", str(app), "--studies", str(studies), *options, "--host", HOST, "--port", str(port)]


def _environment() -> dict[str, str]:
    """Environment of this process, for server and training runs; with a stand-in where torchvision does not work."""
    probe = subprocess.run([sys.executable, "-c", "import torchvision.utils"], capture_output=True, check=False)
    path = [str(STAND_IN)] if probe.returncode else []
    path += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def _serve(command: Sequence[str]) -> int:
    """Run the server until it or this process is stopped; then end its training runs too, which would go on."""
    signal.signal(signal.SIGTERM, _interrupt)
    server = subprocess.Popen(command, env=_environment(), start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(server.pid, number)
                server.wait(PATIENCE)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
