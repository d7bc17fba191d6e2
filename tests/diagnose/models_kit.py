"""What the tests of the models share: records of several lengths, and extra padding."""

import torch

from vesalius.diagnose import models

VOCABULARY, FIELDS, LABELS = 50, 3, 4


def records(*lengths: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return inputs of records with the given numbers of tokens."""
    rng = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(1, *lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    return {
        "tokens": torch.randint(5, VOCABULARY, shape, generator=rng) * mask,
        "mask": mask,
        "fields": torch.randint(0, FIELDS, shape, generator=rng) * mask,
        "weights": torch.rand(shape, generator=rng) * mask,
    }


def with_padding(inputs: dict[str, torch.Tensor], more: int, *, junk: bool = False) -> dict:
    """Return the same records with `more` positions of padding; junk: padding holds numbers."""
    widened = {key: torch.nn.functional.pad(value, (0, more)) for key, value in inputs.items()}
    if junk:
        rng = torch.Generator().manual_seed(1)
        for key, highest in (("tokens", VOCABULARY), ("fields", FIELDS)):
            random = torch.randint(0, highest, widened["mask"].shape, generator=rng)
            widened[key] = torch.where(widened["mask"], widened[key], random)
    return widened


def small(name: str, *, seed: int = 0, **options) -> torch.nn.Module:
    """Return a small model in evaluation mode."""
    sizes = {
        "transformer": {"hidden": 16, "layers": 2, "heads": 2},
        "text_cnn": {"embedding": 8, "filters": 6},
        "lstm": {"embedding": 8, "hidden": 6},
        "tfidf": {},
    }[name]
    torch.manual_seed(seed)
    model = models.build(
        name, labels=LABELS, vocabulary=VOCABULARY, fields=FIELDS, **{**sizes, **options}
    )
    return model.eval()
