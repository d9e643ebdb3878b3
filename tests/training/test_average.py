import torch
from torch import nn

from ctbone.training.average import Average


def test_it_is_the_running_mean_of_weights_and_statistics():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = Average(network, decay=0.6)
    names = [name for name, value in network.state_dict().items() if value.is_floating_point()]
    expected = {name: network.state_dict()[name].double() for name in names}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for step in range(1, 30):
        network(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(network, step)
        decay = min(0.6, (1 + step) / (10 + step))
        for name in names:
            expected[name] = (
                decay * expected[name] + (1 - decay) * network.state_dict()[name].double()
            )
    found = average.network.state_dict()
    for name in names:
        torch.testing.assert_close(found[name].double(), expected[name], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found[name], network.state_dict()[name])
    assert found["1.num_batches_tracked"] == 29


def test_it_does_not_touch_what_learns():
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    average = Average(network, decay=0.9)
    network.weight.data += 1
    average.update(network, 1)
    assert torch.equal(network.weight, before + 1)
    assert network.weight.requires_grad
    assert not average.network.weight.requires_grad
