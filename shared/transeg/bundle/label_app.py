"""The MONAI Label server that `transeg label` starts: the client is told which volume cannot be used and why."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse
from monailabel.app import app

from transeg.errors import VolumeError


@app.exception_handler(VolumeError)
async def unusable_volume(request: Request, error: VolumeError) -> JSONResponse:
    """Answer 422 with the file, the fault and the remedy instead of MONAI Label's "Internal Server Error"."""
    return JSONResponse({"detail": str(error)}, status_code=422)
