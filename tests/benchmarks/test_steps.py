"""The benchmarks of training steps run, and every fast step equals the plain one."""

import pytest

from benchmarks import cardiac_step, genseg_step, pathogan_step, steps, thigh_step

TASK: genseg_step.Task = {
    "n": 2,
    "size": (32, 24),
    "channels": 2,
    "width": 2,
    "levels": 3,
    "discriminator_widths": (4, 8),
}
MEASURES = {
    "genseg": (genseg_step.VARIANTS, lambda variant: genseg_step.measure(TASK, variant, 1)),
    "pathogan": (pathogan_step.VARIANTS, lambda variant: pathogan_step.measure(variant, 1, small=True)),
    "cardiac": (cardiac_step.VARIANTS, lambda variant: cardiac_step.measure(variant, 0, 2, 2, (22, 24, 16))),
}
GRADIENTS = {
    "genseg": lambda variant: genseg_step.gradients(TASK, variant),
    "pathogan": pathogan_step.gradients,
    "cardiac": cardiac_step.gradients,
    "thigh": thigh_step.gradients,
}
PAIRS = [
    *(("genseg", name, "reference") for name in genseg_step.VARIANTS[1:]),
    *(("pathogan", name, "plain") for name in pathogan_step.VARIANTS[1:]),
    *(("cardiac", name, "reference") for name in cardiac_step.VARIANTS[1:]),
    *(("thigh", name, "reference") for name in ("ours", "checkpointed")),
]


@pytest.mark.parametrize(("method", "variant"), [(m, v) for m, (variants, _) in MEASURES.items() for v in variants])
def test_every_step_is_measured(method, variant):
    figures = MEASURES[method][1](variant)
    assert figures["seconds"] > 0
    assert figures.get("gflop", 1) > 0
    assert figures["peak_memory_gb"] > 0


@pytest.mark.parametrize(("method", "variant", "plain"), PAIRS)
def test_every_step_equals_the_plain_one(method, variant, plain):
    difference = steps.difference(GRADIENTS[method](variant), GRADIENTS[method](plain))
    assert max(difference.values()) < 1e-6  # the weights of the terms are float32
