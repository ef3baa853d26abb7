"""The public names of ``regressor``: each is there, and none loads torch before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import regressor


@pytest.mark.parametrize("name", regressor.__all__)
def test_every_public_name_resolves(name):
    assert getattr(regressor, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = regressor.no_such_name


def test_importing_the_package_does_not_import_torch():
    program = "import sys, regressor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
