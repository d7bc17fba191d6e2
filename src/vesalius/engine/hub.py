"""A run folder as a Hugging Face model: `from_pretrained`, `save_pretrained`, `push_to_hub`.

model = PretrainedModel.from_pretrained("runs/nuclei")        # a folder, or "owner/name"
model.save_pretrained("elsewhere")  # a folder that `Run` opens, without the names of cases
logits = model(images)
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import nn

from vesalius import files
from vesalius.engine.run import Run, save_weights, to_json, write_scores

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
        folder = Path(save_directory)
        with files.storage_errors(folder):
            for name in (*_CARRIED, *self.run.config.get("assets", ())):
                source = self.run.folder / name
                if source.exists() and source.resolve() != (folder / name).resolve():
                    text = source.read_text(encoding="utf-8")
                    (folder / name).write_text(_without_path(text, self.run), encoding="utf-8")
        # Written, not copied: a run may have been opened with other settings of its prediction.
        files.write_text(folder / "recipe.yaml", self.run.recipe.to_yaml(comments=True))
        files.write_text(folder / "config.json", to_json(_without_ids(self.run.config)))
        scores = self.run.scores
        if scores is not None:
            scores = replace(scores, cases={})
            write_scores(folder, scores, step=self.run.weights_step, split="valid")
        path = folder / "model.safetensors"
        save_weights(path, self.network, step=self.run.weights_step, scores=scores)


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
