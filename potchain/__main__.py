"""`python -m potchain`: the same as the command `potchain`."""

import sys

from potchain.cli import main

if __name__ == "__main__":
    sys.exit(main())
