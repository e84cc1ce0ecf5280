"""Encoders of the transformers library, by the folders that they lie in."""

from __future__ import annotations

from torch import Tensor, nn

from lcomp.errors import UserError, needing


class TransformersNetwork(nn.Module):
    """An encoder that classifies sequences (pip install 'lcomp[transformers]'), with the weights that it has.

    Args:
        path: a folder with config.json and its weights, or a name on the hub.
        num_classes: logits.
        vocab_size: tokens that there are, which the task says.

    Raises:
        UserError: transformers is not installed, or has no encoder there, or one of fewer tokens.
    """

    is_tried = True  # before it trains, as a user's own: it can be anything

    def __init__(self, path: str | None = None, num_classes: int = 2, vocab_size: int | None = None):
        super().__init__()
        with needing("transformers", "model=transformers"):
            from transformers import AutoModelForSequenceClassification
            from transformers.utils import logging
        if path is None:
            raise UserError(
                "model.path: name the folder of an encoder (config.json, model.safetensors), or one on the hub"
            )
        level = logging.get_verbosity()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            self.network = AutoModelForSequenceClassification.from_pretrained(
                path, num_labels=num_classes, attn_implementation="eager", ignore_mismatched_sizes=True
            ).float()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"model.path={path}: no encoder there ({' '.join(str(error).split())[:200]})") from error
        finally:
            logging.set_verbosity(level)
        held = self.network.get_input_embeddings().num_embeddings
        if vocab_size is not None and held < vocab_size:
            raise UserError(
                f"model.path={path}: knows {held:,} tokens, and data.tokenizer gives {vocab_size:,}; name its own, "
                f"data.tokenizer={path}"
            )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and their mask (N, L) int64 to logits (N, num_classes)."""
        logits: Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits
