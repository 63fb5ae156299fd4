"""An evaluation of three made-up cases by `SliceScoreSaver`; run by torchrun with a folder, over several processes."""

import json
import sys

import ignite.distributed as idist
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import AsDiscreted, Compose, CopyItemsd, Lambdad
from transeg.methods.pathogan.score_saver import SliceScoreSaver

PIXEL, THICKNESS = 2.0, 2.0
AFFINE = torch.diag(torch.tensor([PIXEL, PIXEL, THICKNESS, 1.0]))


def volume(**slices):
    """(1, 6, 8, 6) with the pixels of some slices: z2=[(x, y), ...]."""
    array = torch.zeros(1, 6, 8, 6)
    for name, places in slices.items():
        for x, y in places:
            array[0, x, y, int(name[1:])] = 1
    return array


def column(x, count):
    return [(x, y) for y in range(count)]


def case(name, claimed, label):
    image = torch.full_like(label, 0.1) + 0.8 * claimed
    image[..., 0] = image[..., 5] = -1
    tensors = {"image": image, "label": label}
    item = {key: MetaTensor(value, affine=AFFINE.clone()) for key, value in tensors.items()}
    item["image"].meta["intensity_background"] = torch.tensor([-1.0])
    return {**item, "case": name}


def cases():
    """From 2 to 10 mm are the slices 1 to 5, the last is background alone; more than 12 mm2 are four pixels or more."""
    missed = case("b", volume(z2=[(0, 0)]), volume(z1=column(2, 6), z3=column(4, 3), z0=column(1, 8)))
    alarm = case("c", volume(z4=[(3, 3), (3, 4)], z0=column(1, 4)), volume())
    hit = case("a", volume(z2=column(1, 4)), volume(z2=column(1, 8)))
    return [missed, alarm, hit]


def evaluator(items, folder, *handlers, **options):
    """The saver is given a copy, for "pred" itself goes to another grid."""
    steps = [
        AsDiscreted("pred", threshold=0.5),
        CopyItemsd("pred", names="kept"),
        Lambdad("pred", lambda x: x[..., ::2]),
    ]
    saver = SliceScoreSaver(folder, **{"pred_key": "kept", "first": 2.0, "last": 10.0, "min_area": 12.0} | options)
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=torch.nn.Identity(),
        postprocessing=Compose(steps),
        val_handlers=[saver, *handlers],
    )


def main(folder):
    items = cases()[idist.get_rank() :: idist.get_world_size()]
    engine = evaluator(items, folder)
    engine.run()
    with open(f"{folder}/rank{idist.get_rank()}.json", "w") as file:
        json.dump(engine.state.metrics, file)


if __name__ == "__main__":
    with idist.Parallel(backend="gloo"):
        main(sys.argv[1])
