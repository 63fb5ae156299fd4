"""The MONAI Label server, which `transeg label` starts: a volume that cannot be used is told to the client."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse
from monailabel.app import app

from transeg.errors import VolumeError


@app.exception_handler(VolumeError)
async def unusable_volume(request: Request, error: VolumeError) -> JSONResponse:
    """Answer 422 with the file, its fault and what to do, where MONAI Label would answer "Internal Server Error"."""
    return JSONResponse({"detail": str(error)}, status_code=422)
