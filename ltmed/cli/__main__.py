"""`python -m ltmed.cli`: the command `ltmed`."""

from ltmed.cli.main import main

if __name__ == "__main__":
    main()
