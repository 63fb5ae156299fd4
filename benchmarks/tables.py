"""Generate the tables of README and model cards from the results.

A table is between `<!-- table: NAME -->` and `<!-- end -->`. `python -m benchmarks.tables` updates all of them; with
--check it fails if any is out of date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import typer

from benchmarks.results import FOLDER, ROOT, read_result

PAPER_SIMPLE48 = {  # Vorontsov et al., Table 2
    "Segmentation only": "0.61 (0.01)",
    "AE baseline": "0.75 (0.01)",
    "Mean teacher": "0.83 (0.02)",
    "Proposed": "0.84 (0.00)",
}

PAPER_CARDIAC = {  # Zhang et al., Tables 1 and 2
    "S-score without shape consistency": ("66.8", "67.5"),
    "S-score with shape consistency": ("69.2", "69.6"),
    "few real: real only": ("67.8", "70.3"),
    "few real: ADA": ("66.0", "71.0"),
    "few real: ours": ("74.4", "73.2"),
}


def rows(*lines: tuple[object, ...]) -> str:
    """Markdown table; the first line is the header."""
    head, *body = [[str(cell) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body])


def cluttered_mnist() -> str:
    """Cluttered MNIST, 48 px simple."""
    result = read_result("cluttered_mnist_simple48")
    figures = result["figures"]
    body = [
        (name, f"{row['mean']:.3f} ({row['std']:.3f})", PAPER_SIMPLE48[name]) for name, row in figures["table"].items()
    ]
    note = (
        f"Global soft Dice on held-out images, mean (SD) over {len(result['seeds'])} seeds; "
        f"width {figures['width']} (paper: 32) and {figures['updates']:,} updates (paper: 892,500) for all methods."
    )
    return rows(("method", "ours", "paper, full size"), *body) + "\n\n" + note


def knees() -> str:
    """An organ that no preset knows, with a few masks."""
    result = read_result("knees")
    figures, count = result["figures"], len(result["seeds"])
    named = {
        "threshold on the intensity": "threshold",
        "the same network on the masks alone": "segmentation only",
        "the same, beginning with a prior": "segmentation only, prior",
        "a U-Net as of nnU-Net on the masks alone": "U-Net",
        "GenSeg": "GenSeg",
        "GenSeg, beginning with a prior": "GenSeg, prior",
    }
    body = [
        (name, *(f"{value:.3f}" for value in (found["mean"], found["median"])), _listed(found["seeds"]))
        for name, found in ((name, figures[key]) for name, key in named.items() if key in figures)
    ]
    note = (
        f"Dice of the lesion on {figures['n']} other knees, from the masks on disk; {count} draws of 60 patients with "
        f"{figures['masks']} masks, one of which chooses the epoch; {figures['epochs']} epochs of 50 updates, networks "
        "of width 4. All know the slices without a lesion. "
        + " ".join(
            _difference(f"GenSeg, prior - {other}", found)
            for other, found in figures["difference"]["GenSeg, prior"].items()
        )
    )
    return rows(("", "mean Dice", "median", "mean of each draw"), *body) + "\n\n" + note


def uncertainty() -> str:
    """Copies of a scan, the order of cases by their entropy, and a temperature."""
    body, notes = [], []
    for data, found in read_result("uncertainty")["figures"].items():
        for number, own in ((name, own) for name, own in found.items() if name.endswith("copies")):
            order = own["Spearman correlation with Dice"]
            more = _difference("", own["difference"]).removeprefix(": ").rstrip(".")
            body.append(
                (
                    f"{data}, {number.replace('0', 'no')}",
                    f"{own['dice']:.3f}",
                    "" if number[0] == "0" else more,
                    *(_correlation(order.get(name)) for name in ("entropy", "member_dice")),
                    f"{own['times the processor time']:.1f}",
                )
            )
        error, likelihood = (found[name]["all voxels"] for name in ("calibration error", "negative log-likelihood"))
        notes.append(
            f"{data}: temperature {found['temperature']:.2f} by {found['validation patients']} validation patients; "
            f"calibration error of {own['difference']['n']} test patients {error[0]:.4f} without and {error[1]:.4f} "
            f"with it, negative log-likelihood {likelihood[0]:.4f} and {likelihood[1]:.4f}."
        )
    note = (
        "Released weights of GenSeg and of the cardiac bundle, masks on disk. Order: Spearman correlation of a number "
        "of uncertainty.csv with Dice, such that 1 would be perfect, with its 95 % bootstrap interval. "
        + " ".join(notes)
    )
    orders = ("order by entropy", "order by Dice between members")
    head = ("", "mean Dice", "more than without copies", *orders, "times the processor time")
    return rows(head, *body) + "\n\n" + note


def export() -> str:
    """What a limit of the confidence ignores."""
    result = read_result("export")["figures"]
    figures = {name: own for name, own in result["confidence"].items() if name.startswith("temperature")}
    head = ("", *(f"below {limit}" for limit in next(iter(figures.values()))))
    body = [
        (f"{'as released' if name == 'temperature 1' else 'calibrated'}: {what}",
         *(f"{own[what]:.0%}" for own in limits.values()))
        for name, limits in figures.items()
        for what in next(iter(limits.values()))
    ]  # fmt: skip
    passed = sum(found["passes nnU-Net's check"] for found in result["handoffs"].values())
    note = (
        f"Masks of GenSeg's released weights on {result['confidence']['patients']} validation patients of TCGA-LGG, by "
        f"the probability below which voxels are ignored. nnU-Net's check of integrity passes {passed} of "
        f"{len(result['handoffs'])} data sets that were exported from phantoms, of all four bundles."
    )
    return rows(head, *body) + "\n\n" + note


def student() -> str:
    """A network that learns from few given masks, without and with predicted ones."""
    result = read_result("student")["figures"]
    patients = result["patients"]
    body = [(name, f"{result['mean'][name]:.3f}", f"{result['median'][name]:.3f}") for name in result["mean"]]
    many = f"{result['draws']} draws" if result["draws"] > 1 else "one draw"
    note = (
        f"MONAI's U-Net on slices of TCGA-LGG, {result['updates']} updates; {many} of {patients['given']} patients "
        f"with a given mask, beside them up to {patients['predicted']} others with the mask that PathoGAN's released "
        f"weights, which know no mask, predict. Dice of {patients['test']} test patients"
        + _difference("", result["difference"])
    )
    return rows(("", "mean Dice", "median"), *body) + "\n\n" + note


def epochs() -> str:
    """What the choice of an epoch without labels loses."""
    figures = {name: own for name, own in read_result("epochs")["figures"].items() if "score lost" in own}
    body = []
    for method, own in figures.items():
        correlation, lost = own["correlation with the score"], own["score lost"]
        order = [f"{correlation[name]['mean']:.2f}" for name in ("cycle", "distance", "agreement", "epoch")]
        losses = [f"{lost[name]['mean']:.3f} ({max(lost[name]['runs']):.3f})" for name in ("recommended", "last")]
        body.append((method, f"{mean(own['best score']):.3f}", *losses, *order))
    compared = ", ".join(f"{method} {len(own['epochs'])} x {len(own['epochs'][0])}" for method, own in figures.items())
    note = (
        f"Small phantoms and networks, short runs (runs x epochs: {compared}). Dice of validation masks. "
        "Loses: less than the best epoch has, mean (most) of the runs. Order: Spearman correlation of a criterion, or "
        "of the number of the epoch, with Dice over the epochs, such that 1 would be perfect."
    )
    orders = [f"order by {name}" for name in ("cycle", "distance", "agreement", "epoch")]
    head = ("", "best epoch", "recommended loses", "last loses", *orders)
    return rows(head, *body) + "\n\n" + note


def _correlation(found: dict | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['correlation']:.2f} ({low:.2f} to {high:.2f})"


def lgg_few_masks(name: str) -> str:
    """Few masks of real patients."""
    result = read_result(name)
    figures = result["figures"]
    settings, kept = figures["settings"], figures["kept"]
    methods = {"masks alone": "segmentation only", "U-Net, masks alone": "U-Net", "GenSeg": "GenSeg"}
    choices = {"last epoch": "last", "epoch chosen on validation patients": "best"}
    voxels = read_result("lgg_voxels")["figures"]
    assert figures["known"] == read_result(voxels["beside"])["figures"]["known"]
    scores = {kind: voxels[kind] | figures[kind] for kind in ("mean", "median", "draws")}
    named = {"threshold on FLAIR": "threshold", "gradient boosting of voxels": "voxel classifier"} | {
        f"{method}, {choice}": f"{methods[method]}, {choices[choice]}"
        for method in methods
        for choice in choices
        if f"{methods[method]}, {choices[choice]}" in figures["mean"]
    }
    body = [
        (
            name,
            *(f"{scores[kind][key]:.3f}" for kind in ("mean", "median")),
            _listed(scores["draws"][key]),
        )
        for name, key in named.items()
    ]
    updates = {
        method: max(curve[-1]["epoch"] for name, curve in figures["curves"].items() if name.startswith(method))
        * int(settings["batches_per_epoch"])
        for method in {key.split(",")[0] for key in named.values() if "," in key}
    }
    pairs = [
        f"{own} - {other}, {choice}"
        for own, choice in (("last", "last"), ("last", "best"), ("best", "best"))
        for other in sorted(updates.keys() - {"GenSeg"})
    ]
    note = (
        f"Dice of whole test patients ({kept['test_volumes']}, the same in all draws), from the masks on disk. Known: "
        f"the masks of {settings['masks']} of {kept['training_volumes']} training patients, drawn "
        f"{len(result['seeds'])} times, and which half-slices of the others show the tumour; the masks of "
        f"{kept['validation_volumes']} validation patients only where they choose the epoch. Networks of width "
        f"{settings['width']}, trained for {settings['minutes']:g} minutes side by side on one {result['hardware']}; "
        f"updates: {', '.join(f'{method} {updates[method]:,}' for method in sorted(updates))}. "
        + " ".join(_difference(f"GenSeg, {pair}", figures["difference"][f"GenSeg, {pair}"]) for pair in pairs)
    )
    return rows(("", "mean Dice", "median", "mean of each draw"), *body) + "\n\n" + note


def lgg_weights() -> str:
    """GenSeg's released weights on whole patients."""
    result = read_result("lgg_weights")
    settings, kept = result["figures"]["settings"], result["figures"]["kept"]
    named = {"threshold on FLAIR": "threshold", "gradient boosting of voxels": "voxel classifier", "U-Net": "U-Net"}
    return _patients(
        result,
        named | {"GenSeg": "GenSeg"},
        f". All learn from the masks of {kept['training_volumes']} training patients; GenSeg's recipe was chosen on "
        f"{kept['validation_volumes']} validation patients; no patient chooses an epoch.",
        "Updates: "
        + ", ".join(f"{name} {settings[name]['updates']:,}" for name in ("U-Net", "GenSeg"))
        + f", an hour and a half each on one thread of {result['hardware'].split(',')[0]}",
    )


def lgg_recipes() -> str:
    """What was tried on TCGA-LGG with all masks."""
    result = read_result("lgg_recipes")
    figures = result["figures"]
    body = [
        (
            one["network"],
            one["recipe"],
            f"{one['updates']:,}",
            *("-" if one[kind] is None else f"{one[kind]:.3f}" for kind in ("validation", "test")),
            "-" if one["false_alarms"] is None else f"{one['false_alarms']:.0%}",
        )
        for one in figures["recipes"]
    ]
    note = (
        f"Mean Dice of {figures['validation_patients']} validation and {figures['test_patients']} test patients, from "
        "the masks on disk; false alarms: share of the slices of test patients without tumour that are marked. Masks "
        f"of {figures['recipes'][0]['masks']} training patients, seed {result['seeds'][0]}."
    )
    return rows(("", "recipe", "updates", "validation", "test", "false alarms"), *body) + "\n\n" + note


def lgg_weak(name: str) -> str:
    """PathoGAN and others from image-level labels on whole patients."""
    result = read_result(name)
    settings, kept, scores = (result["figures"][key] for key in ("settings", "kept", "scores"))
    named = {
        "threshold on FLAIR": "threshold",
        "classifier with a map of evidence": "classifier",
        "threshold on FLAIR, in the slices that this classifier marks": "threshold in the classifier's slices",
        "PathoGAN without its classifier": "PathoGAN alone",
        "PathoGAN": "PathoGAN",
    }
    return _patients(
        result,
        named,
        f", whole heads. Every method knows of each slice of {kept['training_volumes']} training patients whether it "
        f"shows the tumour ({kept['training']:,} do, {kept['training_absence']:,} do not), and no mask. Threshold and "
        f"least area of a mask are chosen by such labels of {kept['validation_volumes']} validation patients for the "
        "classifier and for PathoGAN without its own, of the training patients for the threshold on FLAIR; they are "
        "0.5 and 0 for PathoGAN. In the slices that the classifier marks, the threshold is the best one for the test "
        "patients.",
        f"Updates: {_updates(scores)}, of {int(settings['epochs']) * int(settings['batches_per_epoch']):,}, over the "
        f"second half of which the learning rate falls to zero; {result['hardware'].split(',')[0]}",
    )


def _updates(scores: dict[str, dict[str, dict]]) -> str:
    """Updates of each network, all seeds."""
    found = []
    for name, by_seed in scores.items():
        counts = sorted({own["updates"][0] for own in by_seed.values() if "updates" in own})
        if counts:
            found.append(f"{name} {' to '.join(f'{count:,}' for count in counts)}")
    return ", ".join(found)


def _patients(result: dict, named: dict[str, str], known: str, training: str) -> str:
    """Table of methods on whole patients; the last one is compared with the others.

    Args:
        result: as `benchmarks.lgg.write` writes it.
        named: method by the name of its row.
        known: what the methods learn from, after a first half-sentence.
        training: of the networks.
    """
    figures, method = result["figures"], list(named.values())[-1]
    one_seed = len(figures[method]["seeds"]) == 1
    body = [
        (
            name,
            *(f"{figures[key][kind]:.3f}" for kind in ("mean", "median")),
            *(f"{figures[key][kind]:.0%}" for kind in ("false_alarms", "sensitivity")),
            str(len(figures[key]["seeds"])),
        )
        for name, key in named.items()
        if key in figures
    ]
    note = (
        f"Dice of {figures['kept']['test_volumes']} test patients, from the masks on disk{known} False alarms: slices "
        "without tumour in which something is marked, as a share of all slices without tumour of a patient; "
        f"sensitivity: the same of the slices with tumour. {training}. "
        + ("With one seed, how much another training would differ is not known. " if one_seed else "")
        + " ".join(_difference(f"{method} - {other}", found) for other, found in figures["difference"].items())
    )
    return rows(("", "mean Dice", "median", "false alarms", "sensitivity", "seeds"), *body) + "\n\n" + note


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _difference(name: str, found: dict) -> str:
    low, high = found["interval"]
    return f"{name}: {found['mean']:+.3f} (95 % interval {low:+.3f} to {high:+.3f})."


def genseg_step() -> str:
    """Speed relative to a naive implementation."""
    result = read_result("genseg_step")
    body = []
    for task, row in result["figures"].items():
        if isinstance(row, dict):
            ours, reference = row["ours"], row["reference"]
            body.append(
                (
                    task,
                    f"{reference['pairs_per_second']:.2f}",
                    f"{ours['pairs_per_second']:.2f}",
                    f"{row['speed_ratio']:.2f}",
                    f"{reference['gflop']:.0f} -> {ours['gflop']:.0f}",
                    f"{reference['peak_memory_gb']:.2f} -> {ours['peak_memory_gb']:.2f}",
                )
            )
    head = ("task", "pairs/s, naive", "pairs/s, ours", "speed-up", "GFLOP per step", "peak memory, GB")
    note = f"Full-size networks in single precision on {result['hardware']}; losses and gradients agree to 1e-4."
    return rows(head, *body) + "\n\n" + note


def thigh_phantoms() -> str:
    """Figure 2 of Gadermayr et al. on phantoms."""
    result = read_result("thigh_phantoms")
    figures = result["figures"]
    body = []
    for source, runs in figures["dice"].items():
        cells = []
        for segmenter in runs[0]:
            medians = [median(run[segmenter].values()) for run in runs]
            spread = f" ({min(medians):.2f} to {max(medians):.2f})" if len(runs) > 1 else ""
            cells.append(f"{mean(medians):.3f}{spread}")
        body.append((source, *cells))
    note = (
        f"Median Dice on {len(runs[0]['GMM'])} severe phantom patients unseen in training; translations: mean (range) "
        f"over {len(result['seeds'])} seeds of {figures['updates']:,} updates. OI: original images. "
        "G w_r,w_i: weights of the domain and identity losses. GMM needs no labels; GC and SPGC are learned from the "
        "masks of the other test patients with the paper's grid search."
    )
    return rows(("", *runs[0]), *body) + "\n\n" + note


def thigh_hull() -> str:
    """The hull that the translation must beat."""
    figures = read_result("thigh_hull")["figures"]
    measures = ("dice", "sensitivity", "specificity")
    body = [(name, *(f"{figures[name][key]:.3f}" for key in measures)) for name in figures["dice"]]
    note = (
        f"Means over {len(next(iter(figures['dice'].values())))} severe phantom patients; sensitivity and specificity "
        "inside the fascia. "
        + " ".join(_difference(name[0].upper() + name[1:], found) for name, found in figures["difference"].items())
    )
    return rows(("", "Dice", "sensitivity", "specificity"), *body) + "\n\n" + note


def sts_thigh() -> str:
    """Muscle of patients' limbs with simulated infiltration."""
    result = read_result("sts_thigh")
    figures = result["figures"]
    named = {
        "mixture on the original": "mixture on the original",
        "convex hull of it": "hull of it",
        "CycleGAN, then mixture": "G 0,1",
        "with the domain loss": "G .5,1",
        "with the domain loss, adding to the image": "residual",
        "the same, within the hull": "residual, within the hull",
    }
    measures = ("dice", "sensitivity", "specificity", "lean muscle found", "fatty muscle found")
    body = [(name, *(f"{figures[key][measure]:.3f}" for measure in measures)) for name, key in named.items()]
    seeds = len(result["seeds"])
    note = (
        f"Means over {len(figures['cases'])} patients with simulated severe infiltration, each tested once by networks "
        f"of {figures['updates']:,} updates that were trained on others, from the masks on disk; nobody sees a mask. "
        f"{seeds} seed{'s' if seeds > 1 else ''}. Sensitivity and specificity inside the fascia. Dice: "
        + " ".join(_difference(name, found) for name, found in figures["difference"].items())
        + " Specificity: "
        + " ".join(_difference(name, found) for name, found in figures["difference of specificity"].items())
    )
    return rows(("", "Dice", "sensitivity", "specificity", "of lean muscle", "of fatty muscle"), *body) + "\n\n" + note


def pathogan_step() -> str:
    """Time and memory of PathoGAN at the paper's size."""
    result = read_result("pathogan_step")
    body = []
    for variant in ("plain", "checkpointed"):
        row = result["figures"][variant]
        if "seconds" in row:
            cells = [f"{row[key]:.1f}" for key in ("seconds", "activations_gb", "peak_memory_gb")]
        else:
            cells = ["-", "-", f"more than {row['more_than_gb']:.1f}"]
        body.append((variant, *cells))
    note = f"One step of generators and discriminators in single precision on {result['hardware']}."
    return rows(("", "seconds per step", "stored activations, GB", "peak memory, GB"), *body) + "\n\n" + note


def cardiac_phantoms() -> str:
    """Tables 1 and 2 of Zhang et al. on phantoms."""
    result = read_result("cardiac_phantoms")
    figures = result["figures"]
    table = figures["over_seeds"]
    parts = {
        "S-score without shape consistency": ("s_score", "without shape consistency"),
        "S-score with shape consistency": ("s_score", "ours"),
        **{f"few real: {method}": ("few_real", method) for method in ("real only", "ADA", "ours")},
        **{f"all real: {method}": ("all_real", method) for method in ("real only", "ours")},
    }
    body = []
    for name, (part, method) in parts.items():
        found = [table[part][modality][method] for modality in ("ct", "mr")]
        cells = [f"{100 * x['mean']:.1f} ({100 * x['std']:.1f})" for x in found]
        body.append((name, *cells, *PAPER_CARDIAC.get(name, ("-", "-"))))
    full, few = figures["training_volumes"]["full"]["ct"], figures["training_volumes"]["ct"]["ct"]
    closed = " and ".join(f"{figures['gap_closed'][m]:.0%} ({m.upper()})" for m in ("ct", "mr"))
    updates, size = sum(figures["epochs"].values()) * figures["updates_per_epoch"], figures["size"]
    note = (
        f"Dice over five regions in %, {figures['test_volumes']} held-out phantoms per modality, mean (SD) over "
        f"{len(result['seeds'])} seeds; {updates:,} updates at {size['pixdim']:g} mm, width {size['width']}. S-score: "
        "Dice on translations to this modality, by segmenters trained on real volumes only. All real: "
        f"{full} training volumes per modality; few real: {few} of the evaluated modality ({figures['share']:.0%}), "
        f"all of the other. Fraction of the gap between ADA and all real volumes that ours closes: {closed}."
    )
    return rows(("", "CT", "MR", "CT, paper", "MR, paper"), *body) + "\n\n" + note


def cardiac_real() -> str:
    """A real cardiac CT, and tiles."""
    figures = read_result("cardiac_real")["figures"]
    body = []
    for name, row in figures["runs"].items():
        grid = "yes" if row["same_affine"] and row["same_shape"] else "no"
        low, high = row["hu_range"]
        body.append((name, grid, f"{low:.0f} to {high:.0f}", f"{row['mean_change_hu']:.0f}", f"{row['seconds']:.0f}"))
    tiles = figures["tiles"]
    seams = " and ".join(f"{tiles[name]['seam_score']:.3f} ({name})" for name in ("tiles", "one pass"))
    note = (
        f"The whole scan at 1.5 mm ({' x '.join(map(str, tiles['size']))} voxels) in tiles of {tiles['tile']} differs "
        f"from one pass by {tiles['difference_of_range']:.1e} of the range; seam score {seams}, 1 means no seams."
    )
    head = ("", "original grid", "HU, CT to MR to CT", "mean absolute change, HU", "seconds")
    return rows(head, *body) + "\n\n" + note


def alarms(bundle: str) -> str:
    """What the warnings of a bundle tell."""
    found = {
        name.partition(" ")[2]: own
        for name, own in read_result("alarms")["figures"].items()
        if name.split()[0] == bundle
    }
    faults = list(dict.fromkeys(fault for own in found.values() for fault in own))
    columns = [f"{domain.upper()}: " if domain else "" for domain in found]
    head = ("", *(f"{column}{what}" for column in columns for what in ("scans warned of", "as")))
    body = []
    for fault in faults:
        cells: list[object] = []
        for own in found.values():
            one = own.get(fault)
            told = ", ".join(f"{kind} {count}" for kind, count in sorted(one["kinds"].items())) if one else ""
            cells += [f"{one['alarms']} of {one['n']}", told] if one else ["-", ""]
        body.append((fault, *cells))
    clean = ", ".join(
        f"{column}{own['clean']['interval'][0]:.0%} to {own['clean']['interval'][1]:.0%}"
        for column, own in zip(columns, found.values(), strict=True)
    )
    note = (
        "Scans that are refused or come with a warning; a scan may have several. Clean scans are like those of the "
        f"training, and none of them; the 95 % interval of their share of false alarms is {clean}."
    )
    return rows(head, *body) + "\n\n" + note


def all_alarms() -> str:
    """What the warnings of all bundles tell, side by side."""
    found = read_result("alarms")["figures"]
    named = {
        "GenSeg": "brain_mri_genseg_segmentation",
        "PathoGAN": "brain_mri_pathogan_segmentation",
        "thigh": "thigh_mri_muscle_segmentation",
        "heart, CT": "cardiac_ct_mr_segmentation ct",
        "heart, MR": "cardiac_ct_mr_segmentation mr",
    }
    faults = dict.fromkeys(fault for own in found.values() for fault in own)
    cells = {
        fault: [f"{one['alarms']} of {one['n']}" if (one := found[key].get(fault)) else "-" for key in named.values()]
        for fault in faults
    }
    note = (
        "Scans that are refused or come with a warning. Brains are test patients of TCGA-LGG, thighs and hearts are "
        "phantoms; other body parts are of patients."
    )
    return rows(("", *named), *((fault, *row) for fault, row in cells.items())) + "\n\n" + note


def mscmr() -> str:
    """Late enhancement without labels of its own, on patients."""
    result = read_result("mscmr")
    figures = result["figures"]
    named = {
        "mean shape of the labels, no image": "mean shape",
        "segmenter of C0, LGE as it is": "as it is",
        "segmenter of C0, LGE with the histogram of C0": "histogram matched",
        "ours": "ours",
        "segmenters of both, labels of LGE known": "labels of LGE",
    }
    regions = ("Myo", "LV", "RV")
    body = [
        (name, *(f"{figures[key][kind]:.3f}" for kind in ("mean", *regions)), str(len(figures[key]["draws"])))
        for name, key in named.items()
    ]
    n = next(iter(figures["difference"].values()))["n"]
    note = (
        f"Dice of {n} LGE test scans of MS-CMRSeg 2019, mean of three regions, from the masks on disk. All but the "
        "last know labels of C0 of other patients, and no label of LGE. "
        + " ".join(_difference(pair, found) for pair, found in figures["difference"].items())
    )
    return rows(("", "mean Dice", *regions, "draws"), *body) + "\n\n" + note


def cardiac_step() -> str:
    """Time and memory of all six networks."""
    result = read_result("cardiac_step")
    figures = result["figures"]
    body: list[tuple[object, ...]] = []
    for name in ("reference", "reusing", "ours", "checkpointed"):
        row = figures[name]
        if "seconds" not in row:
            body.append((name, "-", "-", f"more than {row['more_than_gb']:.1f}", "-", "-", "-"))
            continue
        ratios = [figures["ratios"].get(f"{name} {key}") for key in ("seconds", "peak_memory_gb")]
        cells = [f"{row['seconds']:.1f}", f"{row['gflop']:.0f}", f"{row['peak_memory_gb']:.2f}"]
        own = row["peak_memory_gb"] - row["libraries_gb"]
        gpu = next((f"{size} GB" for size in (16, 24) if own < 0.9 * size), "more")
        body.append((name, *cells, *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios), gpu))
    size = " x ".join(map(str, figures["size"]))
    note = (
        f"One step of all players on one CT and one MR of {size} voxels, width {figures['width']}, in single precision "
        f"on {result['hardware']}; ratios relative to the reference, a naive implementation of the same step. "
        "GPU: the smaller of 16 and 24 GB of which the peak without libraries takes up less than 90 %; estimated, not "
        "measured on a GPU."
    )
    head = ("", "seconds", "GFLOP", "peak memory, GB", "time ratio", "memory ratio", "GPU")
    return rows(head, *body) + "\n\n" + note


RATE = 20e12  # operations a second, of which the hours are given


def cost() -> str:
    """Trainings of the published size: counted operations, and steps measured on a GPU."""
    measured = read_result("gpu_steps_fp32")
    body = []
    for bundle, found in read_result("cost")["figures"].items():
        step = measured["figures"][bundle]["fp32"]
        hours = step["ms"] / 1e3 * found["updates"] / 3600
        slower = max(found["exaflop"] * 1e18 / RATE / 3600, hours)
        body.append(
            (
                f"`{bundle}`",
                found["training"],
                f"{found['updates']:,}",
                f"{found['teraflop']:.2f}",
                f"{step['kernels']:,}",
                f"{step['ms']:.0f} ms",
                f"{step['gpu_busy']:.0%}",
                f"{step['memory_gb']:.1f} GB",
                f"{hours:.1f} h",
                f"{slower:.1f} h",
            )
        )
    head = (
        "",
        "training",
        "updates",
        "TFLOP an update",
        "kernels",
        "an update",
        "GPU busy",
        "memory",
        "all",
        "24 GB card",
    )
    note = (
        f"Measured on one {measured['hardware']}, one run alone, in single precision (convolutions in TF32). 24 GB "
        f"card: estimated at {RATE / 1e12:.0f} TFLOP/s, and no faster than that GPU."
    )
    return rows(head, *body) + "\n\n" + note


def levers() -> str:
    """Measures for speed, each against the plain way."""
    figures = read_result("levers")["figures"]
    body = [
        (
            name,
            found["what"].rstrip("."),
            f"{found['plain_ms']:.0f} ms",
            f"{found['ours_ms']:.0f} ms",
            f"{found['plain_ms'] / found['ours_ms']:.1f}",
            f"{found['difference']:.0e}" if "difference" in found else "random",
        )
        for name, found in figures.items()
        if isinstance(found, dict)
    ]
    return rows(("", "what", "libraries", "here", "times as fast", "largest difference, relative"), *body)


def inference() -> str:
    """Whole scans with one thread."""
    body = [
        (
            f"`{bundle}`",
            found["voxels"],
            f"{found['seconds_to_start']:.0f} s",
            f"{found['seconds_a_scan']:.1f} s",
            f"{found['peak_gb']:.1f}",
            f"{found['mask_kb']:.0f}",
            f"{found['seconds_a_scan'] * 1e6 / 3600 / 24 / 100:.1f}",
        )
        for bundle, found in read_result("inference")["figures"].items()
    ]
    head = ("", "voxels", "start", "a scan", "memory, GB", "mask, kB", "days for a million scans on 100 cores")
    return rows(head, *body)


TABLES: dict[str, Callable[[], str]] = {
    "cluttered_mnist_simple48": cluttered_mnist,
    "levers": levers,
    "gpu_lgg_few_masks": partial(lgg_few_masks, "gpu_lgg_few_masks"),
    "gpu_lgg_few_masks_prior": partial(lgg_few_masks, "gpu_lgg_few_masks_prior"),
    "lgg_weights": lgg_weights,
    "lgg_recipes": lgg_recipes,
    "lgg_weak": partial(lgg_weak, "lgg_weak"),
    "gpu_lgg_weak": partial(lgg_weak, "gpu_lgg_weak"),
    "knees": knees,
    "uncertainty": uncertainty,
    "export": export,
    "student": student,
    "epochs": epochs,
    "genseg_step": genseg_step,
    "thigh_phantoms": thigh_phantoms,
    "thigh_hull": thigh_hull,
    "sts_thigh": sts_thigh,
    "pathogan_step": pathogan_step,
    "cardiac_phantoms": cardiac_phantoms,
    "cardiac_real": cardiac_real,
    "mscmr": mscmr,
    "all_alarms": all_alarms,
    **{
        f"alarms_{name}": partial(alarms, bundle)
        for name, bundle in {
            "genseg": "brain_mri_genseg_segmentation",
            "pathogan": "brain_mri_pathogan_segmentation",
            "thigh": "thigh_mri_muscle_segmentation",
            "cardiac": "cardiac_ct_mr_segmentation",
        }.items()
    },
    "cardiac_step": cardiac_step,
    "cost": cost,
    "inference": inference,
}


def renew(text: str) -> str:
    """Fill in every table with a result."""

    def fill(match: re.Match) -> str:
        name = match[1]
        result = "alarms" if "alarms" in name else name  # one result has several tables
        if not (FOLDER / f"{result}.json").is_file():
            return match[0]
        return f"<!-- table: {name} -->\n{TABLES[name]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def documents() -> list[Path]:
    """README, the pages of docs and the model cards."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("bundles/*/docs/README.md"))]


def main(
    check: Annotated[bool, typer.Option(help="Fail if a table is out of date instead of updating it.")] = False,
) -> None:
    """Update the tables."""
    stale = []
    for path in documents():
        old = path.read_text()
        new = renew(old)
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(new)
    if check and stale:
        typer.echo(f"tables out of date in {', '.join(stale)}: run python -m benchmarks.tables", err=True)
        raise typer.Exit(1)
    print("updated" if stale else "up to date", *stale)


if __name__ == "__main__":
    typer.run(main)
