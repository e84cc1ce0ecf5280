"""What `speed=auto` would choose: milliseconds of a training step in each choice, in turns, of networks that lcomp has.

    python benchmarks/probe.py [MODEL ...]

One thread of an AMD EPYC with AVX-512 and bfloat16 (torch 2.14.1), busy with other work, medians of 5, batches of 128
images or of 32 sentences of 64 tokens:

| network | 32-true | other memory format | bf16-mixed | both |
|---|---:|---:|---:|---:|
| lenet5 | 13.2 | 14.1 | 10.1 | 14.9 |
| resnet8 | 274.5 | 404.6 | 161.7 | 184.0 |
| resnet20 | 618.2 | 846.0 | 334.3 | 403.4 |
| bert_mini | 1099.0 | | 616.1 | |

An Intel Xeon without AMX is slower in bf16 (ResNet-20 1.3 times, MiniLM 1.5 times): there the exact choice stays.
"""

import sys

import torch
from torch import nn

from lcomp.config.composition import compose
from lcomp.config.instantiation import build
from lcomp.config.run_config import resolved_dict
from lcomp.config.run_spec import parse
from lcomp.record.environment import cpu
from lcomp.tasks import ImageClassification, Task, TextClassification
from lcomp.training import speed

IMAGES = {"lenet5": (1, 28, 28), "small_cnn": (1, 28, 28)} | dict.fromkeys(
    ("resnet8", "resnet20", "mobilenet_v2", "resnet18"), (3, 32, 32)
)
SENTENCES = ("bert_mini", "minilm_l6")


def made(model: str) -> tuple[nn.Module, Task, tuple[torch.Tensor, ...]]:
    """The network, its task, and a batch: 128 images, or 32 sentences of 64 tokens."""
    torch.manual_seed(0)
    if model in SENTENCES:
        text = TextClassification()
        settings = resolved_dict(compose([f"model={model}", "task=text_classification"]).model)
        batch = torch.randint(1000, 2000, (32, 64)), torch.ones(32, 64, dtype=torch.int64), torch.randint(2, (32,))
        return build(settings, "model", **text.arguments), text, batch
    images = ImageClassification(input_shape=IMAGES[model])
    settings = resolved_dict(compose([f"model={model}"]).model)
    network = build(settings, "model", **images.arguments)
    return network, images, (torch.rand(128, *IMAGES[model]), torch.randint(10, (128,)))


def main() -> None:
    torch.set_num_threads(1)
    stated = parse(compose([])).trainer
    print(f"{cpu()}, torch {torch.__version__}, one thread\n\n| network | choice | ms a step | |\n|---|---|---:|---|")
    for model in sys.argv[1:] or (*IMAGES, *SENTENCES):
        network, task, batch = made(model)
        found = speed.choices(network, stated)
        seconds = speed.step_seconds(network, task, batch, found, "cpu")
        best = speed.fastest(seconds, found[0])
        for one, value in seconds.items():
            print(f"| {model} | {one} | {1000 * value:.1f} | {'chosen' if one == best else ''} |", flush=True)


if __name__ == "__main__":
    main()
