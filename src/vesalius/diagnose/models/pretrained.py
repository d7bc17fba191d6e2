"""A pretrained encoder with a multi-label head: any Hugging Face checkpoint, by name or folder.

BERT, RoBERTa, XLM-R, ERNIE (ERNIE-Health and MedBERT have these layouts), Longformer and others
through `AutoModel`. Records longer than the encoder's maximum are encoded in windows and pooled
over all tokens (as PLM-ICD, Huang et al. 2022, but with padding masked and windows that overlap).
Tokens are embedded here and handed over as vectors: fields can be added, and positions follow the
order of the tokens.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vesalius.diagnose.model_blocks import HeadBlock
from vesalius.diagnose.models.base import Inputs, RecordModel, field_embedding
from vesalius.diagnose.models.heads import Head
from vesalius.diagnose.models.windows import encode_in_windows
from vesalius.errors import RecipeError

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|block|albert_layer_groups)\.(\d+)\.")


class Pretrained(RecordModel):
    """Encoder and head.

    Args:
        encoder: a transformers model whose first output is (B, T, width).
        labels: number of labels.
        fields: number of the record's fields; their embeddings start at zero.
        window: tokens that are encoded at once; None: the encoder's maximum.
        stride: tokens between the starts of windows; None: three quarters of a window.
        freeze: "none", "embeddings", "all", or a number: the embeddings and so many first layers.
        gradient_checkpointing: compute activations anew in the backward pass.
        head: the head.

    Raises:
        RecipeError: the window is longer than the encoder allows, or there are no such layers.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        labels: int,
        fields: int = 1,
        window: int | None = None,
        stride: int | None = None,
        freeze: str | int = "none",
        gradient_checkpointing: bool = False,
        head: HeadBlock = HeadBlock(),  # noqa: B008 - frozen
    ):
        super().__init__()
        self.encoder = encoder
        self.width = encoder.config.hidden_size
        self.window = _window(encoder, window)
        self.stride = stride or (max(1, self.window * 3 // 4) if self.window else None)
        if self.window and self.stride > self.window:
            raise RecipeError(f"stride {self.stride} is more than window {self.window}: gaps")
        self.field_embedding = field_embedding(fields, self._embedding_width())
        self.head = Head(self.width, labels=labels, block=head)
        if gradient_checkpointing:
            encoder.activation_checkpointing_enable()
        self._freeze(freeze)

    def _embedding_width(self) -> int:
        return self.get_input_embeddings().weight.shape[1]

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's token embedding."""
        return self.encoder.get_input_embeddings()

    @property
    def architecture(self) -> dict[str, Any]:
        """Settings of the encoder, from which `from_architecture` builds it without weights."""
        return self.encoder.config.to_dict()

    def encode(self, inputs: Inputs) -> Tensor:
        """Return (B, T, width)."""
        mask = inputs["mask"]
        table = self.get_input_embeddings()
        padding = self.encoder.config.pad_token_id or 0
        # Padding may hold anything; and a record without a token must attend to something.
        embedded = table(inputs["tokens"].masked_fill(~mask, padding))
        if self.field_embedding is not None:
            embedded = embedded + self.field_embedding(inputs["fields"].masked_fill(~mask, 0))
        if self.window is None:
            return self._encode(embedded, mask)
        return encode_in_windows(
            self._encode, embedded, mask, window=self.window, stride=self.stride
        )

    def _encode(self, embedded: Tensor, mask: Tensor) -> Tensor:
        mask = mask.clone()
        mask[:, 0] |= ~mask.any(1)
        extra = {}
        if self.encoder.config.model_type == "longformer":
            # The first token sees all and is seen by all (Beltagy et al. 2020, section 3.1).
            extra["global_attention_mask"] = torch.zeros_like(mask, dtype=torch.long)
            extra["global_attention_mask"][:, 0] = 1
        return self.encoder(inputs_embeds=embedded, attention_mask=mask.long(), **extra)[0]

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.encoder.config.num_hidden_layers

    def layer_of(self, parameter: str) -> int:
        """Return a parameter's depth: 0 embeddings, 1 to `depth` the layers, then the head.

        Layers that share their parameters (ALBERT) count as the first.
        """
        if parameter.startswith("field_embedding."):
            return 0
        if not parameter.startswith("encoder."):
            return self.depth + 1
        inner = parameter.removeprefix("encoder.")
        found = _LAYER.search(inner)
        if found:
            return int(found.group(1)) + 1
        return self.depth if _is_on_top(inner) else 0

    def _freeze(self, freeze: str | int) -> None:
        if freeze == "none":
            return
        if isinstance(freeze, int) and freeze > self.depth:
            raise RecipeError(f"freeze is {freeze}; the encoder has {self.depth} layers")
        frozen = {"embeddings": 0, "all": self.depth}.get(freeze, freeze)
        self.unfreeze(self.depth - int(frozen))


def _is_on_top(parameter: str) -> bool:
    """Tell what stands behind the layers (pooler, last normalisation) from the embeddings."""
    return (
        re.match(r"pooler|final_norm|norm\.|ln_f|encoder\.(LayerNorm|final)", parameter) is not None
    )


def _window(encoder: nn.Module, window: int | None) -> int | None:
    """Return the tokens that can be encoded at once; None where there is no limit."""
    most = longest(encoder)
    if window and most and window > most:
        raise RecipeError(
            f"window is {window}, but the encoder has positions for {most} tokens only; use "
            f"{most} or less: longer records are encoded in several windows"
        )
    return window or most


def longest(encoder: nn.Module) -> int | None:
    """Return how many tokens the encoder has positions for; None where there is no limit.

    RoBERTa and its kin count positions from behind the padding's number, which takes its room.
    """
    limit = getattr(encoder.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:
        return None
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            taken = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - taken
    return limit


def from_architecture(settings: Mapping[str, Any]) -> nn.Module:
    """Return an encoder with fresh weights from `Pretrained.architecture`."""
    from transformers import AutoConfig, AutoModel

    settings = copy.deepcopy(dict(settings))
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    return AutoModel.from_config(config, **without_pooler(config))


def without_pooler(config) -> dict[str, bool]:
    """Return the option that leaves out BERT's pooler, which would never be trained."""
    import inspect

    from transformers import MODEL_MAPPING

    kind = MODEL_MAPPING[type(config)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    known = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return {"add_pooling_layer": False} if known else {}
