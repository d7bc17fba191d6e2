"""Where a writer writes, and what it had to leave out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vesalius.detect.scene import Scene
from vesalius.images.image import stem


@dataclass
class Target:
    """The folder that a writer fills.

    Attributes:
        folder: exists and is empty.
        classes: all names, in the order of their numbers.
        names: scene id -> file name of its image in the folder; its stem names other files.
        references: scene id -> how annotations that name their image name it.
        losses: what the format cannot express -> how many objects or images it concerned.
    """

    folder: Path
    classes: tuple[str, ...]
    names: Mapping[str, str]
    references: Mapping[str, str]
    losses: Counter[str] = field(default_factory=Counter)

    def name(self, scene: Scene) -> str:
        """Return the file name of a scene's image."""
        return self.names[scene.id]

    def stem(self, scene: Scene) -> str:
        """Return the file name of a scene's image without its suffix."""
        return stem(self.names[scene.id])

    def reference(self, scene: Scene) -> str:
        """Return how annotations name the image of a scene."""
        return self.references[scene.id]

    def write(self, place: str, text: str) -> None:
        """Write a UTF-8 file at a relative place.

        The folder appears as a whole when all is written, so no file needs to be flushed alone:
        that would take most of the time.
        """
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))

    def lose(self, what: str, count: int = 1) -> None:
        """Note that something was left out."""
        if count:
            self.losses[what] += int(count)
