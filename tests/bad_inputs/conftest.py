"""A folder of good files for every case to spoil."""

import pytest
from good_files import write_good


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """The files that the cases spoil."""
    folder = tmp_path_factory.mktemp("good")
    write_good(folder)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    for path in good.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    return tmp_path
