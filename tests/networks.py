"""Networks in the styles that people use, each of which lcomp once got wrong."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations


class StandardizedConv2d(nn.Conv2d):
    """Weight standardization: the convolution computes with another weight than it stores."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class Body(nn.Module):
    def __init__(self, c1, c2, shape, num_classes, n1=None, n2=None):
        super().__init__()
        _, h, w = shape
        self.c1, self.c2, self.n1, self.n2 = c1, c2, n1 or nn.Identity(), n2 or nn.Identity()
        self.fc = nn.Linear(16 * ((h + 3) // 4) * ((w + 3) // 4), num_classes)

    def forward(self, x):
        return self.fc(F.relu(self.n2(self.c2(F.relu(self.n1(self.c1(x)))))).flatten(1))


class WeightStandardized(Body):
    """A subclass of Conv2d with a forward of its own."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        c = input_shape[0]
        super().__init__(
            StandardizedConv2d(c, 8, 3, 2, 1), StandardizedConv2d(8, 16, 3, 2, 1), input_shape, num_classes
        )


class Hooked(Body):
    """A forward hook of the user's on a layer."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        c = input_shape[0]
        super().__init__(nn.Conv2d(c, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), input_shape, num_classes)
        self.c1.register_forward_hook(lambda module, arguments, output: output - 0.5)


class SpectralNormalized(Body):
    """Layers that carry a parametrization already."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        c = input_shape[0]
        norm = parametrizations.spectral_norm
        convs = norm(nn.Conv2d(c, 8, 3, 2, 1)), norm(nn.Conv2d(8, 16, 3, 2, 1))
        super().__init__(*convs, input_shape, num_classes, nn.BatchNorm2d(8), nn.BatchNorm2d(16))


class RowsNormalized(nn.Module):
    """A batch norm over another axis than the linear layer before it writes."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        c, h, w = input_shape
        self.fc1, self.bn = nn.Linear(w, c * h), nn.BatchNorm1d(c * h)
        self.fc2, self.out = nn.Linear(c * h * c * h, 32), nn.Linear(32, num_classes)

    def forward(self, x):
        x = F.relu(self.bn(self.fc1(x.flatten(1, 2))))
        return self.out(F.relu(self.fc2(x.flatten(1))))


class CalledTwice(nn.Module):
    """One layer in two places of the graph."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        _, h, w = input_shape
        self.stem, self.block = nn.Conv2d(input_shape[0], 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.fc = nn.Linear(16 * ((h + 1) // 4) * ((w + 1) // 4), num_classes)

    def forward(self, x):
        x = F.relu(self.block(F.relu(self.stem(x))))
        return self.fc(F.max_pool2d(F.relu(self.block(x)), 2).flatten(1))


class Tied(nn.Module):
    """Two layers, one weight."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        c, h, w = input_shape
        self.inp, self.a, self.b = nn.Linear(c * h * w, 64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.b.weight = self.a.weight
        self.out = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.out(F.relu(self.b(F.relu(self.a(F.relu(self.inp(x.flatten(1))))))))


class Gated(nn.Module):
    """A gated unit: half of the channels multiply the other half."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(input_shape[0], 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        a, b = self.c2(F.relu(self.c1(x))).chunk(2, 1)
        return self.fc((a * torch.sigmoid(b)).mean((2, 3)))


class SeparateHeads(nn.Module):
    """Attention with query, key and value apart, heads split by a reshape."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28), dim=32, heads=4):
        super().__init__()
        self.patch, self.heads = nn.Conv2d(input_shape[0], dim, 4, 4), heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = (F.softmax(q @ k.transpose(-1, -2) * 0.35, -1) @ v).transpose(1, 2).reshape(b, n, -1)
        return self.fc((x + self.o(y)).mean(1))


class Attentive(nn.Module):
    """torch's own MultiheadAttention, which reads its projections' weights itself."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28), dim=32):
        super().__init__()
        self.patch, self.norm = nn.Conv2d(input_shape[0], dim, 4, 4), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        y = self.norm(x)
        return self.fc((x + self.attention(y, y, y, need_weights=False)[0]).mean(1))


class DeadChannels(nn.Module):
    """Frozen batch norms of which two channels are nearly dead: a tiny gamma, an offset."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        _, h, w = input_shape
        self.c1, self.b1 = nn.Conv2d(input_shape[0], 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.c2 = nn.Conv2d(8, 16, 3, 2, 1)
        self.fc = nn.Linear(16 * ((h + 3) // 4) * ((w + 3) // 4), num_classes)
        with torch.no_grad():
            self.b1.weight[:2], self.b1.bias[:2] = 1e-6, 1.0
        self.b1.requires_grad_(False)

    def forward(self, x):
        return self.fc(F.relu(self.c2(F.relu(self.b1(self.c1(x))))).flatten(1))


class NeverCalled(nn.Module):
    """A head left from pretraining that forward does not call."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        self.c1, self.old_head = nn.Conv2d(input_shape[0], 16, 3, 2, 1), nn.Linear(16, 1000)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(F.relu(self.c1(x)).mean((2, 3)))


class BareParameters(nn.Module):
    """Weights that no layer holds."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(8, input_shape[0], 3, 3) * 0.2)
        self.w2 = nn.Parameter(torch.randn(16, 8, 3, 3) * 0.1)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        x = F.relu(F.conv2d(F.relu(F.conv2d(x, self.w1, None, 2, 1)), self.w2, None, 2, 1))
        return self.fc(x.mean((2, 3)))
