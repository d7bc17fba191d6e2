"""`python -m vesalius`, and under torchrun `-m vesalius`."""

import sys

from vesalius.cli import main

if __name__ == "__main__":
    sys.exit(main())
