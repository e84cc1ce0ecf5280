"""Shows the layers of a network: `python -m lcomp.summary model=small_cnn`."""

import sys

from lcomp.cli.network_summary import main

if __name__ == "__main__":
    sys.exit(main())
