"""Shows which layers bear compression: `python -m lcomp.sensitivity model=lenet5`."""

import sys

from lcomp.cli.sensitivity import main

if __name__ == "__main__":
    sys.exit(main())
