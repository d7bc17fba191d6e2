"""A run folder as a Hugging Face model: `from_pretrained`, `save_pretrained`, `push_to_hub`.

model = PretrainedModel.from_pretrained("runs/nuclei")        # a folder, or "owner/name"
model.save_pretrained("elsewhere")  # a folder that `Run` opens, without the names of cases
logits = model(images)
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import Tensor, nn

from vesalius import files
from vesalius.engine.run import Run, save_weights, to_json, write_scores
from vesalius.errors import RecipeError

_CARRIED = ("README.md", "history.jsonl")


class PretrainedModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="vesalius",
    tags=["biomedical"],
):
    """The trained network of a run folder, with the task that knows how to feed it.

    Args:
        run: an opened run folder.

    Attributes:
        run: the run it came from.
        task: its task: `task.loader(cases, training=False)`, `task.predict(network, batch)`.
        network: the module itself, in evaluation mode.
    """

    def __init__(self, run: Run):
        super().__init__()
        self.run = run
        self.task = run.task
        self.network = run.model()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call the network."""
        return self.network(*inputs, **named)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = True,
        **_ignored: Any,
    ) -> "PretrainedModel":
        folder = model_id
        if not Path(model_id).is_dir():
            folder = snapshot_download(
                repo_id=model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        return cls(Run(folder)).to(map_location)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_run(self.run, self.network, Path(save_directory))


def write_run(run: Run, network: nn.Module, folder: Path, *, half: bool = False) -> None:
    """Write a run to pass on into an existing folder: no names of cases, no path of the data.

    Args:
        run: the run.
        network: its network.
        folder: where the files go.
        half: store weights as float16; running statistics of normalisations stay as they are.

    Raises:
        RecipeError: a weight is too large for float16.
        StorageError: a file could not be written.
    """
    state = network.state_dict()
    state = _halved(state) if half else state
    with files.storage_errors(folder):
        for name in (*_CARRIED, *run.config.get("assets", ())):
            source = run.folder / name
            if source.exists() and source.resolve() != (folder / name).resolve():
                text = source.read_text(encoding="utf-8")
                (folder / name).write_text(_without_path(text, run), encoding="utf-8")
    # Written, not copied: a run may have been opened with other settings of its prediction.
    files.write_text(folder / "recipe.yaml", run.recipe.to_yaml(comments=True))
    files.write_text(folder / "config.json", to_json(_without_ids(run.config)))
    scores = run.scores
    if scores is not None:
        scores = replace(scores, cases={})
        write_scores(folder, scores, step=run.weights_step, split="valid")
    save_weights(
        folder / "model.safetensors", network, step=run.weights_step, scores=scores, state=state
    )


def _halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    halved = {}
    for key, value in state.items():
        if not value.is_floating_point() or ".running_" in f".{key}":
            halved[key] = value
            continue
        if value.abs().max() > torch.finfo(torch.float16).max:
            raise RecipeError(f"weight {key} is too large for float16; export without --half")
        halved[key] = value.half()
    return halved


def _without_path(text: str, run: Run) -> str:
    """Leave out where the data lay."""
    data = str(run.config.get("data", ""))
    return text.replace(data, Path(data).name) if data else text


def _without_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out names of cases and folders: they may name patients, and this may be published."""
    split, data = config.get("split"), str(config.get("data", ""))
    counted = {key: len(v) if isinstance(v, list) else v for key, v in (split or {}).items()}
    changed = {"split": counted} if split else {}
    if data:
        name = Path(data).name
        changed["data"] = name
        changed["command"] = str(config.get("command", "")).replace(data, name)
    return {**config, **changed}
