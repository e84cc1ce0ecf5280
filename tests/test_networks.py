"""Every network that the configuration names, on small images in colour: a step of training, its artifact, packed."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_graphs import operators
from quickly import first_quickly

from lcomp.config import composition
from lcomp.config.instantiation import build
from lcomp.export.onnx_export import export
from lcomp.packed import load, pack
from lcomp.tasks import ImageClassification

TASK = ImageClassification(10, (3, 32, 32), [0.49, 0.48, 0.45], [0.25, 0.24, 0.26])
QUICK = ("lenet5", "conv_net", "resnet8")
OF_SENTENCES = ("bert_mini", "bert_tiny", "minilm_l6", "transformers")  # in test_encoders.py
NAMES = sorted({path.stem for path in (composition.folder() / "model").glob("*.yaml")} - set(OF_SENTENCES))


@pytest.mark.parametrize("name", first_quickly([*QUICK, *(name for name in NAMES if name not in QUICK)], len(QUICK)))
def test_a_network_learns_and_its_files_give_its_logits(name, tmp_path):
    overrides = ["model.name=resnet10t"] if name == "timm" else []
    torch.manual_seed(0)
    network = build(composition.compose([f"model={name}", *overrides]).model, "model", **TASK.arguments)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    before = [parameter.clone() for parameter in network.parameters()]
    network.train().to(memory_format=getattr(network, "memory_format", torch.contiguous_format))
    for _ in range(2):
        optimizer.zero_grad()
        TASK.loss(network(images), labels).backward()
        optimizer.step()
    assert not any(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True) if b.dim() > 1)
    with torch.no_grad():
        expected = network.eval().to(memory_format=torch.contiguous_format)(images).numpy()
    export(network, tmp_path / "a.onnx", TASK)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    close = {"atol": 1e-4 * np.abs(expected).max(), "rtol": 0}
    assert np.allclose(session.run(None, {"pixels": images.numpy()})[0], expected, **close)
    assert "Div" not in operators(tmp_path / "a.onnx")  # of the normalization
    pack(tmp_path / "a.onnx", tmp_path / "a.lcomp")
    with torch.no_grad():
        assert np.allclose(load(tmp_path / "a.lcomp")(images).numpy(), expected, **close)
