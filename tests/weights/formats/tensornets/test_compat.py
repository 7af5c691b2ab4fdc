"""tensornets is imported lazily, with substitutes for three modules."""

import subprocess
import sys

import pytest

from detector.errors import MissingExtra
from tests.weights.formats.tensornets.networks import BACKBONE
from weights.formats.tensornets.compat import import_tensornets
from weights.formats.tensornets.graph import TensornetsGraph

pytestmark = pytest.mark.slow  # imports TensorFlow


def test_tensornets_is_imported_lazily_and_its_substitute_modules_are_removed():
    code = """
import sys, warnings
import weights.formats.tensornets.mapping, weights.formats.tensornets.engine, weights.engines.factory
from weights.formats.tensornets.compat import import_tensornets
print([name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "tf_keras", "tensornets")])
import keras
before = set(sys.modules)
warnings.simplefilter("error")
nets = import_tensornets()
new = [name for name in set(sys.modules) - before if name.startswith(("tensorflow.", "tf_keras."))]
print(nets.__name__, len(new) > 0, [name for name in new if sys.modules[name].__spec__ is None or sys.modules[name].__name__ != name])
print(nets is import_tensornets())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", "tensornets True []", "True"]


def test_without_tensornets_the_message_tells_how_to_install_it(monkeypatch):
    import_tensornets()
    monkeypatch.setitem(sys.modules, "tensornets", None)
    with pytest.raises(MissingExtra, match=r"Install the extra 'train'"):
        TensornetsGraph.build(BACKBONE)
