"""Make the toy reachable as a department of the package, for run folders to be reopened."""

import sys

from tests.engine import toy

for name in ("vesalius.toy", "vesalius.toy.recipe", "vesalius.toy.task"):
    sys.modules[name] = toy
