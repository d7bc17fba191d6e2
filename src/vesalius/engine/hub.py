"""A run folder as a Hugging Face model: `from_pretrained`, `save_pretrained`, `push_to_hub`.

model = PretrainedModel.from_pretrained("runs/nuclei")        # a folder, or "owner/name"
model.save_pretrained("elsewhere")                            # a folder that `Run` opens
logits = model(images)
"""

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import nn

from vesalius import files
from vesalius.engine.run import Run, save_weights

_CARRIED = ("config.json", "recipe.yaml", "README.md", "scores.json", "history.jsonl")


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
            for name in _CARRIED:
                source = self.run.folder / name
                if source.exists() and source.resolve() != (folder / name).resolve():
                    shutil.copyfile(source, folder / name)
        step = self.run.weights_step
        path = folder / "model.safetensors"
        save_weights(path, self.network, step=step, scores=self.run.scores)
