"""`python -m unrolled`, and the console script `unrolled`."""

import sys


def main() -> None:
    """Run the command line with the arguments of this process and exit with its status."""
    from .cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
