"""From a bundle to what a user downloads: self-contained zips, and the check of what arrived."""

from transeg.release.archive import ReleaseError
from transeg.release.package import build
from transeg.release.verify import problems

__all__ = ["ReleaseError", "build", "problems"]
