"""What an evaluation leaves on disk."""

from __future__ import annotations

from monai.config import PathLike
from monai.handlers import MetricsSaver

SUMMARY = ("mean", "std", "median", "25percentile", "75percentile", "min", "max")


class ScoreSaver(MetricsSaver):
    """`<metric>_raw.csv` with one row a scan, and `<metric>_summary.csv`, of every metric.

    Args:
        save_dir: folder, made when needed.
    """

    def __init__(self, save_dir: PathLike) -> None:
        super().__init__(
            save_dir,
            metrics="*",
            metric_details="*",
            batch_transform=lambda batch: [item["image"].meta for item in batch],
            summary_ops=list(SUMMARY),
        )
