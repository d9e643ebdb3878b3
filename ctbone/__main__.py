"""``python -m ctbone`` is the command line."""

from ctbone.cli import main

if __name__ == "__main__":
    main()
