"""Trains, resumes or reports one run, or a sweep of them: the same program as `ltmed train`."""

from ltmed.cli.train import main

if __name__ == "__main__":
    main()
