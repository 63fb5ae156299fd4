"""References to volumes; they live in `transeg.references`, where the transforms can import them too."""

from transeg.references import CHANNEL, SLICES, VOLUMES, Reference, files_of, parse, suffix_of

__all__ = ["CHANNEL", "SLICES", "VOLUMES", "Reference", "files_of", "parse", "suffix_of"]
