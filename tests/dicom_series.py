"""Write a volume as a DICOM series, one file for each slice."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813


def write_series(image, folder, uid="1.2.826.0.1.1", slices=None, suffix=".dcm", compress=None, tags=None, shift=None):
    """Write the slices (default all) of an integer image; `shift` maps a slice number to a vector in mm."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    if compress:
        writer.UseCompressionOn()
        writer.SetCompressor(compress)
    direction = np.reshape(image.GetDirection(), (3, 3))
    for number in range(image.GetDepth()) if slices is None else slices:
        plane = image[:, :, number]
        position = np.add(image.TransformIndexToPhysicalPoint((0, 0, number)), shift(number) if shift else 0)
        fields = {
            "0008|0060": "CT",
            "0008|103e": "Chest",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{number + 1}",
            "0020|000d": "1.2.826.0.1",
            "0020|000e": uid,
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{value:.10g}" for value in position),
            "0020|0037": "\\".join(f"{value:.10g}" for value in direction[:, :2].T.ravel()),
            "0028|1052": "-1024",
            "0028|1053": "1",
        } | (tags(number) if tags else {})
        for key, value in fields.items():
            plane.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number:04d}{suffix}"))
        writer.Execute(plane)
    return folder
