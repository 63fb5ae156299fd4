import numpy as np
import pytest
import torch
from transeg.metrics.label_free import mean_ranks, patch_distance, undominated

EPOCHS = [{"cycle": 3.0, "distance": 3.0}, {"cycle": 1.0, "distance": 2.0}, {"cycle": 2.0, "distance": 1.0}]


def noise(seed, scale=1.0, size=(40, 40)):
    return scale * torch.randn(1, *size, generator=torch.Generator().manual_seed(seed))


def test_images_of_one_distribution_are_close_and_others_further_the_more_they_differ():
    real = [noise(0), noise(1)]
    same, twice, thrice = (patch_distance([noise(2, k), noise(3, k)], real) for k in (1, 2, 3))
    assert patch_distance(real, real) == 0
    assert same < 0.1
    # filters have unit norm, so responses to noise of deviation k are normal with deviation k: mean |quantile| 0.8
    assert twice == pytest.approx(0.8, rel=0.1)
    assert thrice == pytest.approx(1.6, rel=0.1)


def test_place_and_number_of_images_do_not_count():
    image = torch.zeros(1, 60, 60)
    image[:, 10:20, 10:20] = 1
    assert patch_distance([image], [image.roll((20, 20), (1, 2))] * 3) < 1e-3


def test_sizes_may_differ_in_3d():
    first, other, bright = noise(0, size=(20, 20, 20)), noise(1, size=(16, 20, 24)), noise(1, 2, (16, 20, 24))
    assert patch_distance([first], [other]) < 0.2 < patch_distance([first], [bright])


def test_texture_counts_where_intensities_are_the_same():
    stripes = torch.arange(40).remainder(2).float().expand(1, 40, 40)
    blocks = (torch.arange(40) >= 20).float().expand(1, 40, 40)
    assert patch_distance([stripes], [blocks]) > 5 * patch_distance([blocks], [blocks.roll(4, 2)])


def test_mean_ranks():
    np.testing.assert_array_equal(mean_ranks(EPOCHS), [3, 1.5, 1.5])
    np.testing.assert_array_equal(mean_ranks([{"a": 1.0}, {"a": 1.0}, {"a": 0.0}]), [2.5, 2.5, 1])


def test_undominated_epochs_are_those_that_can_still_come_first():
    np.testing.assert_array_equal(undominated(EPOCHS), [False, True, True])
    np.testing.assert_array_equal(undominated([{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}]), [True, True])
    random = np.random.default_rng(0)
    for _ in range(50):  # whatever follows
        epochs = [dict(zip("abc", row, strict=True)) for row in random.random((12, 3))]
        first = int(mean_ranks(epochs).argmin())
        assert all(undominated(epochs[:k])[first] for k in range(first + 1, 13))
