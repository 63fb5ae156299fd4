"""By what a training run chooses its weights: masks of validation slices, image-level labels, or no labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ignite.metrics import Metric
from torch import Tensor

from transeg.errors import UserError
from transeg.metrics.global_dice import GlobalDice
from transeg.metrics.presence import PresenceAUC

logger = logging.getLogger(__name__)

DICE, PRESENCE = "dice", "presence"
LABEL_FREE = "label_free"  # see `transeg.bundle.epochs`


def known_pairs(output: Sequence[Mapping[str, Any]]) -> tuple[list[Tensor], list[Tensor]]:
    """Predictions and masks of the items whose mask is known: those with one, and those known to show nothing."""
    known = [item for item in output if item.get("labelled", True) or not item.get("presence", True)]
    return [item["pred"] for item in known], [item["label"] for item in known]


def validation_metrics(
    items: Sequence[Mapping[str, Any]], criterion: str | None = None, save_last: bool = False
) -> dict[str, Metric] | None:
    """Metrics of a validation, the first of which may choose the weights; None if nothing can be scored.

    Args:
        items: validation slices of all processes; "presence": True or False.
        criterion: "dice" (`GlobalDice` over slices with masks, and slices without the lesion), "presence"
            (`PresenceAUC`), None: Dice if any slice has a mask, or "label_free": likewise, but it chooses nothing.
        save_last: whether the last weights are kept, whatever they score.

    Raises:
        UserError: another criterion, or the slices lack what it needs.
    """
    masks = sum("label" in item for item in items)
    present, absent = (sum(item.get("presence") is value for item in items) for value in (True, False))
    metrics: dict[str, tuple[str, Metric]] = {}
    if masks:
        metrics[DICE] = ("val_global_dice", GlobalDice(known_pairs))
    if present and absent:
        metrics[PRESENCE] = ("val_presence_auc", PresenceAUC())
    if criterion not in (None, LABEL_FREE):
        if criterion not in metrics:
            raise UserError(
                f"criterion is {criterion!r}, but of {len(items)} validation slices {masks} have a mask, {present} are "
                f"known to show the structure and {absent} to lack it; prepare validation patients with masks for "
                f"{DICE!r}, of both kinds for {PRESENCE!r}, take {LABEL_FREE!r}, or leave criterion out"
            )
        metrics = {criterion: metrics[criterion], **metrics}
    kept = "the last weights are kept" if save_last or not metrics else "it chooses the weights"
    if criterion == LABEL_FREE:
        kept = "criteria without labels choose the weights"
    if not metrics:
        logger.warning("No validation slice has a mask or both kinds of image-level labels: %s.", kept)
        return None
    name = next(iter(metrics))
    told = {DICE: f"Dice of {masks} slices with masks", PRESENCE: f"presence AUC of {present} + {absent} slices"}
    logger.info("Validation by the %s%s; %s.", told[name], "" if masks else ", without masks", kept)
    return dict(metrics.values())
