"""Questions about many runs: folds, cross-validation, ensembles, pseudo-labels, dissection,
search.

Works through the task contract alone, so for every department.
"""

# Not lazily: each function has the name of its module, and whichever import comes last wins.
from vesalius.study.cross_validate import cross_validate
from vesalius.study.dissect import dissect
from vesalius.study.ensemble import ensemble
from vesalius.study.folds import folds
from vesalius.study.pseudo_label import pseudo_label
from vesalius.study.search import search

__all__ = ["cross_validate", "dissect", "ensemble", "folds", "pseudo_label", "search"]
