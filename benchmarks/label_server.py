"""MONAI Label with a bundle on phantoms: time to start, to infer and to train an epoch, labelled and unlabelled.

In an environment with MONAI Label:

python -m benchmarks.label_server
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NamedTuple

import nibabel as nib
import numpy as np
import typer
from transeg.methods.genseg.demo import NAME

from benchmarks.results import write_result
from data_prep.phantoms.brain import SEQUENCES, brain_phantom


class Answer(NamedTuple):
    """Status, content and seconds of a request."""

    status: int
    content: bytes
    seconds: float


class LabelServer:
    """`transeg label` on a free port, as a context manager; its output goes to `log`.

    Args:
        python: interpreter of an environment with MONAI Label.
        studies: folder of the images.
        bundle: folder or name.
        app: folder for MONAI Label's app.
    """

    def __init__(self, python: str | Path, studies: Path, bundle: str | Path, app: Path) -> None:
        self.log = app.with_suffix(".log")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--studies", studies, "--bundle", bundle, "--port", self.port, "--app", app]
        self.command = [python, "-m", "transeg.cli", "label", *options]

    def __enter__(self) -> LabelServer:
        start = time.perf_counter()
        with self.log.open("w") as log:
            command = [str(part) for part in self.command]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            while not self._is_up():
                if self.process.poll() is not None or time.perf_counter() - start > 300:
                    raise RuntimeError(f"the server did not start: {self.log.read_text()[-2000:]}")
                time.sleep(0.2)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_start = time.perf_counter() - start
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server as its user would; it ends its training runs."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()

    def _is_up(self) -> bool:
        try:
            return self.request("GET", "/info/").status == 200
        except urllib.error.URLError:
            return False

    def request(self, method: str, path: str, data: bytes | None = None, kind: str = "application/json") -> Answer:
        """Send a request; returns the answer whatever its status."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": kind}, method=method
        )
        start = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return Answer(answer.status, answer.read(), time.perf_counter() - start)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), time.perf_counter() - start)

    def infer(self, model: str, image: str) -> Answer:
        """Mask of a study in the folder, a gzipped NIfTI file."""
        return self.request("POST", f"/infer/{model}?image={image}&output=image")

    def infer_file(self, model: str, file: Path) -> Answer:
        """Mask of an uploaded file."""
        edge = "edge-of-the-parts"
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
        body = head.encode() + file.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        return self.request("POST", f"/infer/{model}?output=image", body, f"multipart/form-data; boundary={edge}")

    def train(self, model: str, **options: Any) -> dict[str, Any]:
        """Train to the end: status ("DONE", "ERROR"), the last lines of the output and seconds."""
        start = time.perf_counter()
        answer = self.request("POST", f"/train/{model}", json.dumps(options).encode())
        if answer.status != 200:
            raise RuntimeError(f"training did not start: {answer.content.decode()}")
        while (task := json.loads(self.request("GET", "/train/").content))["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(0.2)
        return {**task, "seconds": time.perf_counter() - start}


class Study(NamedTuple):
    """Image (X, Y, Z), or (X, Y, Z, C) with several channels, its label (X, Y, Z) and affine."""

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def brain_study(k: int, **options: Any) -> Study:
    """Phantom k with four channels; options of `brain_phantom`."""
    patient = brain_phantom((0, k), **options)
    return Study(np.stack([patient.images[s] for s in SEQUENCES], axis=-1), patient.label, patient.affine)


def write_studies(
    folder: Path,
    count: int,
    labelled: int,
    affines: Sequence[np.ndarray | None] = (None,),
    draw: Callable[..., Study] = brain_study,
    **options: Any,
) -> list[str]:
    """Write p0.nii.gz, ... and labels of the first ones, as MONAI Label stores them.

    Args:
        folder: folder for the images; labels go to labels/final.
        count: number of studies.
        labelled: number of studies with a label.
        affines: affines to use in turn; None keeps the study's own.
        draw: function from number to study.
        options: options of `draw`.
    """
    (folder / "labels" / "final").mkdir(parents=True)
    names = [f"p{k}" for k in range(count)]
    for k, name in enumerate(names):
        study, affine = draw(k, **options), affines[k % len(affines)]
        affine = study.affine if affine is None else affine
        nib.save(nib.Nifti1Image(study.image, affine), folder / f"{name}.nii.gz")
        if k < labelled:
            nib.save(nib.Nifti1Image(study.label, affine), folder / "labels" / "final" / f"{name}.nii.gz")
    return names


def main(
    count: Annotated[int, typer.Option(help="Number of studies.")] = 6,
    labelled: Annotated[int, typer.Option(help="Number of labelled studies.")] = 4,
    bundle: Annotated[str, typer.Option(help="Bundle name or folder.")] = NAME,
) -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = write_studies(root / "studies", count, labelled)
        with LabelServer(sys.executable, root / "studies", bundle, root / "app") as server:
            first, second = (server.infer(bundle, names[-1]).seconds for _ in range(2))
            training = server.train(bundle, max_epochs=1)
            if training["status"] != "DONE":
                raise RuntimeError("\n".join(training["details"]))
            figures = {
                "bundle": bundle,
                "studies": {"all": count, "labelled": labelled, "voxels": "120 x 120 x 78, 4 channels"},
                "cores": len(os.sched_getaffinity(0)),
                "seconds to start": round(server.seconds_to_start, 1),
                "seconds of the first inference": round(first, 1),
                "seconds of an inference": round(second, 1),
                "seconds of a training of 1 epoch, 100 updates": round(training["seconds"], 1),
            }
    print(json.dumps(figures, indent=1))
    print(write_result("label_server", f"phantoms, {count} patients", [0], figures))


if __name__ == "__main__":
    typer.run(main)
