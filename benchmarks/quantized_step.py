"""A training step of ResNet-20 with learned steps, and with moving ranges, over one in float.

    python benchmarks/quantized_step.py

One thread, batches of 128, channels last, processor time, medians of turns in one process. `step by step` is what
autograd makes of the same rounding, which gives the same gradients to the bit.

Intel Xeon (AVX-512, busy with other work): float 445 ms; lsq 2.65 times that, step by step 4.29; qat 1.93, step by step
2.98.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from lcomp.models import CifarResNet
from lcomp.techniques.quantization import fake, lsq
from lcomp.techniques.quantization.fake import ActivationQuantizer, WeightQuantizer
from lcomp.techniques.quantization.lsq import LearnedStepQuantization
from lcomp.techniques.quantization.qat import QuantizationAwareTraining
from lcomp.techniques.quantization.quantization import quantizers

TURNS = 9
TECHNIQUES = {"float": None, "lsq": LearnedStepQuantization(3, 4), "qat": QuantizationAwareTraining(4, 8)}


def step_by_step(x, step, lowest, largest):
    inside = (x / step).clamp(lowest, largest)
    return (inside + (inside.round() - inside).detach()) * step


def network_under(technique):
    torch.manual_seed(0)
    network = CifarResNet().to(memory_format=torch.channels_last).train()
    if technique:
        technique.prepare(network)
        for quantizer in [*quantizers(network, WeightQuantizer), *quantizers(network, ActivationQuantizer)]:
            quantizer.enabled.fill_(True)
            if type(quantizer) is ActivationQuantizer:
                quantizer.observing.fill_(True)
    return network


def seconds(network, images, labels):
    begin = time.process_time()
    F.cross_entropy(network(images), labels).backward()
    network.zero_grad()
    return time.process_time() - begin


def main():
    torch.set_num_threads(1)
    images = torch.rand(128, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (128,))
    in_one = fake.rounded_straight_through
    networks = {name: network_under(technique) for name, technique in TECHNIQUES.items()}
    cases = [(name, rounding) for name in networks for rounding in (in_one, step_by_step)][1:]
    times = {case: [] for case in cases}
    for _ in range(TURNS):
        for name, rounding in cases:
            fake.rounded_straight_through = lsq.rounded_straight_through = rounding
            times[name, rounding].append(seconds(networks[name], images, labels))
    base = statistics.median(times["float", step_by_step])
    print(f"float: {1000 * base:.0f} ms")
    for (name, rounding), found in list(times.items())[1:]:
        label = "one function" if rounding is in_one else "step by step"
        print(f"{name}, {label}: {statistics.median(found) / base:.2f}x float")


if __name__ == "__main__":
    main()
