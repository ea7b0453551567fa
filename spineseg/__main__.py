"""`python -m spineseg`: the commands of `cli`."""

import sys

from spineseg.cli import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m spineseg"))
