"""Weights of pretrained BERTs, as `transformers` names them, in `lcomp.models.Bert`."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from lcomp.config.pretrained import pretrained_folder
from lcomp.errors import UserError, needing

FILE = "model.safetensors"
NAMES = (  # of transformers, and of here
    (r"^bert\.", ""),
    (r"^embeddings\.word_embeddings\.", "embeddings.words."),
    (r"^embeddings\.position_embeddings\.", "embeddings.positions."),
    (r"^embeddings\.LayerNorm\.", "embeddings.norm."),
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.self\.", ".attention."),
    (r"\.attention\.output\.dense\.", ".attention.output."),
    (r"\.attention\.output\.LayerNorm\.", ".attention_norm."),
    (r"\.intermediate\.dense\.", ".expand."),
    (r"\.output\.dense\.", ".reduce."),
    (r"\.output\.LayerNorm\.", ".norm."),
    (r"^pooler\.dense\.", "pooler."),
)
SENTENCES = "embeddings.token_type_embeddings.weight"
NEW = ("classifier.weight", "classifier.bias")  # drawn, where the file has none


def load_pretrained(network: nn.Module, name: str) -> None:
    """Copies weights into a `Bert`: those of its layers, of as many as it has; places beyond its longest sentence are
    left out, and the vector of the first of two sentences joins those of the places.

    Args:
        name: as in `lcomp.config.pretrained`.

    Raises:
        UserError: the file is not there, or its weights are of other sizes.
    """
    with needing("text", f"model.weights={name}"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

    folder = pretrained_folder(name, "model.weights")
    try:
        found: dict[str, Tensor] = load_file(folder / FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(f"model.weights={name}: {folder / FILE} cannot be read ({error})") from error
    state = {renamed(key): value.float() for key, value in found.items()}
    sentences = state.pop(SENTENCES, None)
    own = network.state_dict()
    with torch.no_grad():
        for key, value in own.items():
            if key not in state and key in NEW:
                continue
            if key not in state:
                raise UserError(f"model.weights={name}: has no {key}; it is of another kind, or has fewer layers")
            given = state[key]
            if key == "embeddings.positions.weight":
                given = given[: len(value)] if sentences is None else given[: len(value)] + sentences[0]
            if given.shape != value.shape:
                raise UserError(
                    f"model.weights={name}: {key} is {tuple(given.shape)}, and {tuple(value.shape)} here; give "
                    "model.width, model.feed_forward and data.tokenizer as it has them"
                )
            value.copy_(given)


def renamed(key: str) -> str:
    for theirs, ours in NAMES:
        key = re.sub(theirs, ours, key)
    return key
