"""New records from a causal language model, the labels in front (Kumar, Choudhary and Cho 2020).

The model is fine-tuned on `labels SEPARATOR text END` and then continues `labels SEPARATOR`, or
that and the first words of a text. Different from the paper, the loss is taken over the text
only: the labels are given, not to be learned.

A generated record states facts of its own. As a kind of augmentation it is therefore rejected
wherever it changes a fact of the text, unless `new_facts=True` asks for them.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from vesalius.errors import DataError, RecipeError, TrainingError
from vesalius.files import storage_errors
from vesalius.text.augmenters.base import Edit, Piece, Proposal, proposal, words
from vesalius.text.augmenters.hugging_face import load

if TYPE_CHECKING:
    from torch import Tensor

Record = tuple[Sequence[str], str]
"""Labels and text."""
SEPARATOR = ": "


class ConditionalGeneration:
    """Generate records that have given labels.

    Args:
        model: folder or name of a causal language model, best one that `fine_tune` made.
        labels: of the texts to be varied by `propose`.
        keep: how many of a text's first words the model goes on from; the paper has 3.
        new_facts: let numbers, negations and terms differ from the text's.
        top_p: nucleus of the draw (Holtzman et al. 2020), in (0, 1].
        temperature: of the draw, > 0.
        max_new_tokens: limit of a record.

    Raises:
        DataError: the checkpoint cannot be opened.
        RecipeError: a value is out of its range.
    """

    def __init__(
        self,
        *,
        model: str,
        labels: Sequence[str] = (),
        keep: int = 3,
        new_facts: bool = False,
        top_p: float = 0.9,
        temperature: float = 1.0,
        max_new_tokens: int = 256,
    ):
        if keep < 0 or not 0 < top_p <= 1 or not temperature > 0 or max_new_tokens < 1:
            raise RecipeError(
                "keep must not be negative, top_p be in (0, 1], temperature and max_new_tokens "
                "be positive"
            )
        self._name, self._labels, self._keep = str(model), tuple(_listed(labels)), keep
        self._draw = {"do_sample": True, "top_p": top_p, "temperature": temperature}
        self._draw |= {"top_k": 0, "max_new_tokens": max_new_tokens}
        self.allows = ("number", "negation", "term", "order") if new_facts else ()
        self._loaded()

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Write another ending to the text's first words. `strength` has no meaning here."""
        if not self._labels:
            raise RecipeError("'generate' needs the option 'labels': those of the text")
        heads = words(pieces)[: self._keep]
        start = text[: pieces[heads[-1]].end] if heads else ""
        (new,) = self.generate(self._labels, start=start, seed=rng.getrandbits(63))
        return proposal(text, [Edit(len(start), len(text), text[len(start) :], new[len(start) :])])

    def generate(
        self, labels: Sequence[str], *, n: int = 1, start: str = "", seed: int = 0
    ) -> list[str]:
        """Return `n` new records that begin with `start`; the same for the same seed.

        Raises:
            RecipeError: no label, or `n` below 1.
        """
        import torch

        if not labels or n < 1:
            raise RecipeError("generate needs at least one label, and n of at least 1")
        model, tokenizer = self._loaded()
        inputs = tokenizer(
            prompt(_listed(labels)) + start, return_tensors="pt", add_special_tokens=False
        )
        length = inputs["input_ids"].shape[1]
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(seed)
            outputs = model.generate(
                **_known(inputs),
                **self._draw,
                num_return_sequences=n,
                eos_token_id=_end(tokenizer),
                pad_token_id=_end(tokenizer),
            )
        # The tokens after the prompt only: decoding may not give the prompt back as it was.
        ends = [tokenizer.decode(row[length:], skip_special_tokens=True) for row in outputs]
        return [(start + end).rstrip() for end in ends]

    def _loaded(self) -> tuple[Any, Any]:
        return load(self._name, "AutoModelForCausalLM")


def prompt(labels: Sequence[str]) -> str:
    """Return what stands before a text: its labels, sorted, and the separator."""
    return ", ".join(sorted(labels)) + SEPARATOR


def fine_tune(
    records: Sequence[Record],
    *,
    model: str,
    out: str | Path,
    epochs: int = 3,
    learning_rate: float = 5e-5,
    batch_size: int = 8,
    max_length: int = 512,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Fine-tune a causal language model to write records for their labels.

    Args:
        records: (labels, text), each with at least one label.
        model: folder or name to start from.
        out: folder for the new model and its tokenizer; it must not exist.
        epochs: passes over the records.
        learning_rate: of AdamW, falling linearly to 0; gradients are clipped at norm 1.
        batch_size: records per step.
        max_length: tokens of prompt and text; longer texts are cut.
        seed: of order and dropout.
        progress: called after each epoch with its number from 1 and its mean loss.

    Returns:
        Mean loss per token, by epoch.

    Raises:
        DataError: records without text or labels (all are listed), or `out` exists.
        TrainingError: a loss is not finite.
    """
    import torch

    _check(records, Path(out))
    loaded, tokenizer = load(model, "AutoModelForCausalLM")
    rows = [_encode(tokenizer, record, max_length) for record in records]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # A copy, since `load` gives the same model to everybody.
        network = type(loaded)(loaded.config)
        network.load_state_dict(loaded.state_dict())
        network.train()
        steps = epochs * -(-len(rows) // batch_size)
        optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate)
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
        losses = []
        for epoch in range(1, epochs + 1):
            batches = _batches(rows, batch_size, Random(f"{seed}-{epoch}"), _end(tokenizer))
            losses.append(_epoch(network, batches, optimiser, falling))
            if progress is not None:
                progress(epoch, losses[-1])
    _save(network.eval(), tokenizer, Path(out))
    return losses


def _epoch(
    network: Any, batches: "Iterator[dict[str, Tensor]]", optimiser: Any, falling: Any
) -> float:
    import torch

    total, count = 0.0, 0
    for batch in batches:
        loss = network(**batch).loss
        if not torch.isfinite(loss):
            raise TrainingError("the language model's loss is not finite; lower learning_rate")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        falling.step()
        tokens = int((batch["labels"][:, 1:] != -100).sum())
        total, count = total + tokens * loss.item(), count + tokens
    return total / count


def _encode(tokenizer: Any, record: Record, max_length: int) -> tuple[list[int], int]:
    """Return the ids of a record with its end, and how many belong to the prompt."""
    labels, text = record
    front = tokenizer(prompt(_listed(labels)), add_special_tokens=False)["input_ids"]
    whole = tokenizer(prompt(_listed(labels)) + text, add_special_tokens=False)["input_ids"]
    if len(front) >= max_length - 1:
        raise DataError(f"the labels of a record fill max_length ({max_length}): {list(labels)}")
    return [*whole[: max_length - 1], _end(tokenizer)], len(front)


def _batches(
    rows: Sequence[tuple[list[int], int]], size: int, rng: Random, pad: int
) -> "Iterator[dict[str, Tensor]]":
    import torch

    order = rng.sample(range(len(rows)), len(rows))
    for first in range(0, len(order), size):
        chosen = [rows[i] for i in order[first : first + size]]
        longest = max(len(ids) for ids, _ in chosen)
        ids = torch.full((len(chosen), longest), pad)
        mask, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, (content, front) in enumerate(chosen):
            ids[row, : len(content)] = torch.tensor(content)
            mask[row, : len(content)] = 1
            targets[row, front : len(content)] = torch.tensor(content[front:])
        yield {"input_ids": ids, "attention_mask": mask, "labels": targets}


def _check(records: Sequence[Record], out: Path) -> None:
    if out.exists():
        raise DataError(f"{out} exists already; name another folder or remove it")
    problems = [
        f"record {number}: {'no label' if not labels else 'no text'}"
        for number, (labels, text) in enumerate(records, 1)
        if not labels or not text.strip()
    ]
    if problems or not records:
        raise DataError("fine-tuning needs records with labels and text", problems)


def _save(network: Any, tokenizer: Any, out: Path) -> None:
    """Write beside `out` and rename, so that a crash leaves no half of a model."""
    temporary = out.with_name(f"~{os.getpid()}-{out.name}")
    with storage_errors(out):
        try:
            network.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _listed(labels: Sequence[str]) -> list[str]:
    return [labels] if isinstance(labels, str) else list(labels)


def _known(inputs: Any) -> dict[str, Any]:
    # Some tokenizers also give token_type_ids, which causal models refuse.
    return {key: inputs[key] for key in ("input_ids", "attention_mask")}


def _end(tokenizer: Any) -> int:
    for number in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if number is not None:
            return number
    raise DataError("the model's tokenizer has no end token (eos_token); set one")
