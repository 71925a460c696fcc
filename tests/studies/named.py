"""The project's own studies, each read once by a process of the tests."""

from functools import cache

from ltmed.studies import catalogue

load = cache(catalogue.load)
