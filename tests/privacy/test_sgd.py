"""Our gradient descent against PyTorch's: the same numbers, bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from privacy.errors import SettingsError
from privacy.training.sgd import Sgd


def stepped(make, gradients):
    """Two parameters after steps along given gradients; the second has none in even steps."""
    parameters = [nn.Parameter(torch.linspace(-1.0, 1.0, 6)), nn.Parameter(torch.ones(2, 3))]
    optimizer = make(parameters)
    for number, gradient in enumerate(gradients):
        parameters[0].grad = gradient.clone()
        parameters[1].grad = None if number % 2 == 0 else gradient.clone().reshape(2, 3)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert parameters[0].grad is None
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


@settings(max_examples=40, deadline=None)
@given(
    lr=st.floats(0.0, 500.0),
    momentum=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 5),
)
def test_the_steps_are_those_of_pytorch(lr, momentum, seed, steps):
    drawn = torch.randn(steps, 6, generator=torch.Generator().manual_seed(seed))
    ours = stepped(lambda p: Sgd(p, lr=lr, momentum=momentum), list(drawn))
    theirs = stepped(lambda p: torch.optim.SGD(p, lr=lr, momentum=momentum), list(drawn))
    assert torch.equal(ours, theirs)


def test_gradients_are_cleared_in_place_where_that_is_asked():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = held = torch.ones(3)
    Sgd([parameter], lr=1.0).zero_grad(set_to_none=False)
    assert parameter.grad is held
    assert held.abs().sum() == 0


@pytest.mark.parametrize(
    ("lr", "momentum"),
    [(-1.0, 0.0), (float("nan"), 0.0), (float("inf"), 0.0), (1.0, 1.0), (1.0, -0.1)],
)
def test_values_out_of_range_are_refused(lr, momentum):
    with pytest.raises(SettingsError, match="must"):
        Sgd([nn.Parameter(torch.ones(1))], lr=lr, momentum=momentum)
