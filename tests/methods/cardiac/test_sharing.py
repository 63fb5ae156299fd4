import pytest
import torch
from transeg.methods.cardiac.sharing import hand_on, leaf_of


def test_one_graph_gives_two_gradients():
    """Loss (3 x - 2)^2 with x = 2 w and w = 1.5: the network's 3 learns 2 (3 x - 2) x, w what follows from it."""
    w, network = torch.tensor(1.5, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    x = 2 * w
    leaf = leaf_of(x)
    loss = (network * leaf - 2) ** 2
    through = hand_on(loss, leaf, x)
    assert through.item() == 49
    (10 * through).backward(inputs=[w])  # frees the graph of x
    assert w.grad.item() == pytest.approx(10 * 2 * 7 * 3 * 2)
    assert network.grad is None
    loss.backward(inputs=[network])
    assert network.grad.item() == pytest.approx(2 * 7 * 3)


def test_gradient_is_that_of_the_plain_loss():
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1, dtype=torch.float64)

    def shared(x):
        leaf = leaf_of(x)
        return hand_on(network(leaf).tanh().square().mean(), leaf, x)

    assert torch.autograd.gradcheck(shared, torch.randn(4, 3, dtype=torch.float64, requires_grad=True))
