"""Begin a diagnosis from a pre-trained encoder."""

from torch import nn

from vesalius.engine.run import Run, weights_header
from vesalius.errors import RecipeError

_PREFIX = "model."


def load_start(model: nn.Module, folder: str) -> None:
    """Load the encoder of a `vesalius diagnose pretrain` run into a model; its head stays fresh.

    Raises:
        RecipeError: the run is of another kind, or its model has another shape.
    """
    from safetensors.torch import load_file

    run = Run(folder)
    if run.department != "diagnose.pretraining":
        raise RecipeError(f"start: {folder} is a run of {run.department}, not of diagnose pretrain")
    path = run.folder / "model.safetensors"
    weights_header(path)
    stored = load_file(path)
    encoder = {
        key.removeprefix(_PREFIX): value for key, value in stored.items() if key.startswith(_PREFIX)
    }
    own = model.state_dict()
    body = {key for key in own if not key.startswith("head.")}
    wrong = sorted(
        key
        for key in body | set(encoder)
        if key not in encoder or key not in own or encoder[key].shape != own[key].shape
    )
    if wrong:
        raise RecipeError(
            f"start: the model of {folder} differs from this recipe's; give the same model block, "
            "fields and vocabulary. These do not fit:",
            wrong[:10],
        )
    model.load_state_dict(encoder, strict=False)
