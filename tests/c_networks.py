"""Random packed networks of the operators that there is C for."""

import numpy as np
import torch
from torch import nn

from lcomp.packed.network import Clip, Constant, Join, Mean, Network, Zeros, output_shape
from lcomp.techniques.quantization.integer_layers import Input, IntegerWeight, QuantizedConv2d, QuantizedLinear

FUNCTIONS = (nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.GELU)


class Builder:
    """A network that grows at random; `floats` has it of floats alone."""

    def __init__(self, seed, floats=False):
        self.random, self.floats = np.random.default_rng(seed), floats
        self.shapes = [(self.one_of(1, 2, 3), self.one_of(5, 8, 11), self.one_of(5, 8, 9))]
        self.steps, self.sources = [], []

    def one_of(self, *choices):
        return choices[self.random.integers(len(choices))]

    @property
    def last(self):
        return len(self.steps)

    @property
    def shape(self):
        return self.shapes[-1]

    def add(self, step, *sources):
        sources = sources or (self.last,)
        self.shapes.append(tuple(output_shape(step, [self.shapes[source] for source in sources])))
        self.steps.append(step)
        self.sources.append(sources)

    def weight(self, *shape):
        """Integers of 1 to 8 bits, many of them zero or none."""
        bits = self.one_of(1, 2, 3, 4, 5, 8)
        most = 2 ** (bits - 1) - 1
        values = self.random.integers(-most, most + 1, shape) if most else self.random.choice([-1, 1], shape)
        if self.random.random() < 0.4 and most:
            values = values * (self.random.random(shape) < 0.2)
        scale = self.random.uniform(0.5, 2, shape[0]) / (max(most, 1) * np.sqrt(np.prod(shape[1:])))
        return IntegerWeight(torch.tensor(values).to(torch.int8), torch.tensor(scale, dtype=torch.float32))

    def finished(self, layer, weight, kind):
        if layer.bias is not None:
            layer.bias.data = torch.tensor(self.random.normal(0, 0.2, len(layer.bias)), dtype=torch.float32)
        if self.floats:
            layer.weight.data = weight()
            return layer
        return kind(layer, weight, nn.Identity())

    def convolution(self):
        channels, rows, columns = self.shape
        kernel = self.one_of(1, 2, 3), self.one_of(1, 2, 3)
        padding = self.one_of(0, 0, 1), self.one_of(0, 1, 2)
        dilation = self.one_of(1, 1, 2), self.one_of(1, 1, 2)
        stride = self.one_of(1, 1, 2), self.one_of(1, 1, 2)
        groups = self.one_of(1, 1, channels)
        outputs = groups * self.one_of(1, 2, 3, 5)
        if any(
            n + 2 * p < d * (k - 1) + 1 for n, p, d, k in zip((rows, columns), padding, dilation, kernel, strict=True)
        ):
            return
        layer = nn.Conv2d(channels, outputs, kernel, stride, padding, dilation, groups, bias=self.random.random() < 0.8)
        self.add(self.finished(layer, self.weight(outputs, channels // groups, *kernel), QuantizedConv2d))
        self.behind()

    def linear(self, outputs):
        layer = nn.Linear(self.shape[0], outputs)
        self.add(self.finished(layer, self.weight(outputs, self.shape[0]), QuantizedLinear))

    def behind(self):
        """What mostly stands behind a layer."""
        for _ in range(self.random.integers(3)):
            self.one_of(self.activation, self.quantize, self.pool)()

    def activation(self):
        if self.random.random() < 0.7:
            self.add(self.one_of(nn.ReLU(), Clip(0.0, 1.5), Clip(-0.25, 1.0)))
        elif not self.floats:
            self.add(self.one_of(*FUNCTIONS)())
        else:
            self.add(self.one_of(nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU)())

    def quantize(self):
        if not self.floats:
            levels = self.one_of(255, 255, 15, 3)
            zero = self.one_of(0, 0, levels // 3)
            self.add(Input(torch.tensor(self.random.uniform(1, 4) / levels), torch.tensor(zero), levels))

    def pool(self):
        if len(self.shape) == 3:
            kernel, stride = self.one_of(1, 2, 3), self.one_of(1, 2, 3)
            padding = self.one_of(0, kernel // 2)
            if min(self.shape[1:]) + 2 * padding >= kernel:
                ceil = bool(self.one_of(0, 0, 1))
                average = nn.AvgPool2d(kernel, stride, padding)
                self.add(self.one_of(nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil), average))

    def residual(self):
        begun = self.last
        for _ in range(self.one_of(1, 2)):
            inputs, outputs = self.shape[0], self.shapes[begun][0]
            layer = nn.Conv2d(inputs, outputs, 3, padding=1)
            self.add(self.finished(layer, self.weight(outputs, inputs, 3, 3), QuantizedConv2d))
            if self.random.random() < 0.5:
                self.activation()
        self.add(Join(self.one_of("add", "add", "sub")), *self.one_of((self.last, begun), (begun, self.last)))
        self.behind()

    def channelwise(self):
        channels = self.shape[0]
        if self.random.random() < 0.5:
            values = torch.tensor(self.random.uniform(0.5, 1.5, self.one_of(1, channels)), dtype=torch.float32)
            self.add(Constant(self.one_of("add", "sub", "mul", "div"), values))
            return
        norm = (nn.BatchNorm2d if len(self.shape) == 3 else nn.BatchNorm1d)(channels)
        norm.running_mean = torch.tensor(self.random.normal(0, 0.2, channels), dtype=torch.float32)
        norm.running_var = torch.tensor(self.random.uniform(0.5, 2, channels), dtype=torch.float32)
        norm.weight.data = torch.tensor(self.random.normal(0, 1, channels), dtype=torch.float32)
        self.add(norm.eval())

    def zeros(self):
        if len(self.shape) == 3:
            self.add(Zeros(*self.random.integers(0, 3, 6).tolist()))


def random_network(seed, floats=False):
    """The network that a seed draws."""
    to = Builder(seed, floats)
    if to.random.random() < 0.3:
        to.quantize()
    for _ in range(to.random.integers(1, 5)):
        to.one_of(to.convolution, to.convolution, to.residual, to.channelwise, to.zeros, to.pool)()
    if to.random.random() < 0.4:
        to.add(Mean())
    to.add(nn.Flatten())
    ending = to.random.random()
    if ending < 0.8 or np.prod(to.shapes[-2][1:]) > 1:
        if to.random.random() < 0.5:
            to.linear(to.one_of(4, 7))
            to.behind()
        to.linear(to.one_of(2, 10))
    if ending > 0.9:
        to.activation()
    return Network(to.shapes[0], to.shape[0], to.steps, to.sources)
