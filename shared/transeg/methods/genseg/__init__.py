"""GenSeg: presence/absence translation, semi-supervised segmentation (Vorontsov et al.)."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)

WITHOUT_MASKS = (
    "GenSeg learns from the masks of some cases: give a few that show the lesion a label, or use "
    "brain_mri_pathogan_segmentation, which learns from image-level labels alone"
)
