"""Named data sets that come out of installed packages: no network, licence and citation said.

>>> from vesalius import datasets
>>> [entry.name for entry in datasets.catalogue()]
['brain-tissue', 'hpo', 'nuclei-stardist', 'synthetic-records']
"""

# ruff's A004 guards the builtin `open`; `datasets.open` is the public name and is always qualified
from vesalius.datasets.catalogue import NamedDataset, catalogue, find
from vesalius.datasets.catalogue import open_dataset as open  # noqa: A004

__all__ = ["NamedDataset", "catalogue", "find", "open"]
