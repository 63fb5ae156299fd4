"""Files with the scores of an evaluation."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine
from monai.config import PathLike
from monai.handlers import MetricsSaver

from transeg.files import write_text

logger = logging.getLogger(__name__)

SUMMARY = ("mean", "std", "median", "25percentile", "75percentile", "min", "max")


class ScoreSaver(MetricsSaver):
    """Writes `<metric>_raw.csv` (one row per scan) and `<metric>_summary.csv` for every metric.

    Args:
        save_dir: folder, created if needed.
        classes: column names; default class0, class1 and so on.
    """

    def __init__(self, save_dir: PathLike, classes: Sequence[str] = ()) -> None:
        self.classes = tuple(classes)
        super().__init__(
            str(save_dir),
            metrics="*",
            metric_details="*",
            batch_transform=lambda batch: [item["image"].meta for item in batch],
            summary_ops=list(SUMMARY),
        )

    def __call__(self, engine: Engine) -> None:
        """Write the files."""
        super().__call__(engine)
        if self.classes and idist.get_rank() == self.save_rank:
            details: Mapping[str, object] = vars(engine.state)["metric_details"]  # MONAI's, unknown to ignite
            for metric in details:
                for kind in ("raw", "summary"):
                    self._name_classes(Path(self.save_dir, f"{metric}_{kind}.csv"))

    def _name_classes(self, path: Path) -> None:
        """Put the names in header and first column; MONAI's writer accepts them, but `MetricsSaver` does not."""

        def name(match: re.Match) -> str:
            return self.classes[int(match[1])]

        header, _, rows = path.read_text().partition("\n")
        header = re.sub(r"(?<=,)class(\d+)(?=,)", name, header)
        write_text(path, "\n".join([header, re.sub(r"^class(\d+)(?=,)", name, rows, flags=re.MULTILINE)]))
