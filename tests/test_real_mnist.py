"""All of MNIST, where LCOMP_DATA points to it."""

import torch

from lcomp.data import MNISTDataModule
from lcomp.models import LeNet5
from lcomp.modules import BaselineModule
from lcomp.training.fit import fit


def test_split_is_disjoint_and_whole(mnist, mnist_root):
    assert mnist.name == "mnist"
    assert torch.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    together = torch.bincount(mnist.train.labels) + torch.bincount(mnist.validation.labels)
    assert together.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(mnist.train) == 54_000 and len(mnist.validation) == 6_000
    again, other = (MNISTDataModule(root=mnist_root, download=False, seed=seed) for seed in (0, 1))
    assert torch.equal(again.train.labels, mnist.train.labels) and not torch.equal(
        other.train.labels, mnist.train.labels
    )


def test_one_epoch_learns_most_digits(mnist):
    torch.manual_seed(0)
    module = BaselineModule(LeNet5())
    fit(module, mnist, 1, seed=0, progress=False)
    with torch.no_grad():
        right = module.network.eval()(mnist.test.images.float() / 255).argmax(1) == mnist.test.labels
    assert right.float().mean() > 0.95
