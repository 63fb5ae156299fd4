"""`transeg label`: MONAI Label with bundles as local models, for a folder of images."""

from __future__ import annotations

import contextlib
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

from transeg.bundle.package import bundle_files, bundle_folder
from transeg.errors import LabelError

HOST = "127.0.0.1"
INSTALL = "pip install -c constraints.txt -e '.[label]' && pip install --no-deps monailabel==0.8.5 pydicom-seg==0.4.1"
WEIGHTS = "models/model.pt"
STAND_IN = Path(__file__).parent / "without_torchvision"
PATIENCE = 10  # seconds until what does not end is killed


def label(
    studies: Annotated[Path, typer.Option(help="Folder of the images; labels go to its subfolder labels.")],
    bundle: Annotated[list[str] | None, typer.Option(help="Name or folder. Repeat; all of bundles/ if none.")] = None,
    port: Annotated[int, typer.Option(help="Of the server, on this machine only.")] = 8000,
    app: Annotated[Path, typer.Option(help="Folder for MONAI Label's app; the weights it trains stay there.")] = Path(
        "label_app"
    ),
) -> None:
    """Serve bundles with MONAI Label: infer, label and train from 3D Slicer, OHIF or any of its clients."""
    folders = [_folder(name) for name in bundle] if bundle else sorted(Path("bundles").glob("*_segmentation"))
    count = _check(studies, folders, port)
    bundles = {folder.resolve().name: bundle_files(folder.resolve()) for folder in folders}
    root = _add_app(app)
    for name, files in bundles.items():
        _add(files, root / "model" / name)
    typer.echo(f"http://{HOST}:{port}/ with {', '.join(bundles)} for {count} studies in {studies}; Ctrl+C ends it")
    raise typer.Exit(_serve(_command(root, studies, list(bundles), port)))


def _folder(name: str) -> Path:
    return Path(name) if (Path(name) / "configs").is_dir() else bundle_folder(name)


def _check(studies: Path, bundles: Sequence[Path], port: int) -> int:
    """Number of studies; LabelError for what would stop the server or leave it without work."""
    if not bundles:
        raise LabelError("no bundles/*_segmentation here; name one by --bundle NAME_OR_FOLDER")
    if not studies.is_dir():
        raise LabelError(f"{studies}: no such folder; give one of NIfTI files by --studies")
    count = sum(1 for path in studies.glob("*.nii*") if not path.name.startswith("."))
    if not count:
        raise LabelError(
            f"{studies}: no studies (.nii, .nii.gz) in it; MONAI Label looks in the folder itself, not below it"
        )
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
    """Copy a bundle, with flattened configs, to its folder in the app; weights that were trained there stay."""
    for path, content in files.items():
        target = model / path
        if path == WEIGHTS and target.is_file():
            if target.read_bytes() != content:
                typer.echo(f"{target}: weights of an earlier training are kept; remove them to begin with the bundle's")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _add_app(folder: Path) -> Path:
    """Copy MONAI Label's app for bundles out of its package, if it is not there yet."""
    if find_spec("monailabel") is None:
        raise LabelError(f"MONAI Label is not installed here; run: {INSTALL}")
    app = folder / "monaibundle"
    if not (app / "main.py").is_file():
        command = [sys.executable, "-m", "monailabel.main", "apps", "--download", "--name", app.name]
        done = subprocess.run([*command, "--output", folder], capture_output=True, text=True, check=False)
        if not (app / "main.py").is_file():
            raise LabelError(f"{app}: MONAI Label did not make it: {(done.stdout + done.stderr).strip()[-500:]}")
    return app


def _command(app: Path, studies: Path, names: Sequence[str], port: int) -> list[str]:
    """Offline: models are those of the app's folder, and nothing is fetched."""
    conf = {"models": ",".join(names), "zoo_source": "local", "sam2": "false"}
    options = [part for key, value in conf.items() for part in ("--conf", key, value)]
    server = [sys.executable, "-m", "monailabel.main", "start_server", "--uvicorn_app", "transeg.bundle.label_app:app"]
    return [*server, "--app", str(app), "--studies", str(studies), *options, "--host", HOST, "--port", str(port)]


def _environment() -> dict[str, str]:
    """That of this process; for server and trainings alike a stand-in where torchvision does not work."""
    probe = subprocess.run([sys.executable, "-c", "import torchvision.utils"], capture_output=True, check=False)
    path = [str(STAND_IN)] if probe.returncode else []
    path += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def _serve(command: Sequence[str]) -> int:
    """Run the server until it ends, or this process is told to; then end its trainings too, which it would leave."""
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
