"""What a detection learns from its data before it trains: classes, channels, dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images.layout import listed
from vesalius.images.read import read_channels


@dataclass(frozen=True)
class Facts:
    """What a detection learned from its training data; stored in config.json.

    Attributes:
        dims: 2 for pictures, 3 for volumes.
        channels: channels of the images as the network takes them.
        classes: names; labels count them from 0.
    """

    dims: int
    channels: int
    classes: tuple[str, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Facts":
        """Rebuild from config.json."""
        return cls(int(values["dims"]), int(values["channels"]), tuple(values["classes"]))


def learn(cases: Sequence[Case], classes: Sequence[str], colour: str) -> Facts:
    """Look at the images of all cases.

    Raises:
        DataError: images that cannot be read or differ in kind; all are listed. Or no class.
    """
    if not classes:
        raise DataError("the data hold no object and declare no class; there is nothing to learn")
    kinds: dict[tuple[int, int], str] = {}
    problems = []
    for case in cases:
        try:
            image = read_channels((case.input,))
        except DataError as error:
            problems.append(str(error))
            continue
        kinds.setdefault((image.dims, len(image.array)), f"{case.input}")
    dims = {kind[0] for kind in kinds}
    channels = {kind[1] for kind in kinds}
    pictures = dims == {2} and channels <= {1, 3}
    if len(kinds) > 1 and not pictures:
        problems += [f"{path}: {d} dimensions, {c} channel(s)" for (d, c), path in kinds.items()]
    if problems:
        raise listed("these images cannot be used together", problems)
    count = max(channels)
    if pictures and colour != "auto":
        count = 1 if colour == "grey" else 3
    return Facts(dims.pop(), count, tuple(classes))
