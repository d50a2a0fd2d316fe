"""What all tests share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """The quick tests first: those that run Nextflow come last, in their own order."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is not None)


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the checkout."""
    return ROOT
