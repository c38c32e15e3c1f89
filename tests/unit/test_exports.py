"""Packages export what they are used by, with every report that it returns; and nothing heavy before it is needed."""

import inspect
import sys
from importlib import import_module

import pytest
from fresh import printed_by

PACKAGES = (
    "checkpoints",
    "curation",
    "data",
    "error_analysis",
    "export",
    "integrations",
    "scores",
    "training",
    "validation",
)


@pytest.mark.parametrize("name", PACKAGES)
def test_names_can_be_imported_and_returned_types_too(name):
    package = import_module(f"span_marker.{name}")
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    exported = {key: getattr(package, key) for key in package.__all__}
    for value in exported.values():
        if inspect.isfunction(value):
            home = sys.modules[value.__module__]
            returned = inspect.signature(value).return_annotation
            if inspect.isclass(getattr(home, returned, None)) and getattr(home, returned).__module__.startswith(
                f"span_marker.{name}."
            ):
                assert returned in exported, f"{value.__name__} returns a {returned}"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (  # which imports most of its package
            "checkpoints.pretrained",
            [
                "datasets",
                "pandas",
                "peft",
                "transformers.modelcard",
                "transformers.trainer",
                "transformers.trainer_utils",
            ],
        ),
        ("data", ["datasets", "spacy"]),
        ("integrations", ["spacy", "transformers.pipelines"]),
        ("preprocessing.features", ["datasets", "pandas"]),
    ],
)
def test_heavy_libraries_are_imported_when_they_are_needed(module, heavy):
    code = (
        # A package without what span_marker/__init__.py imports itself.
        "import importlib.util as util, sys, types; package = types.ModuleType('span_marker'); "
        "package.__path__ = list(util.find_spec('span_marker').submodule_search_locations); "
        "sys.modules['span_marker'] = package; "
        f"import span_marker.{module}; print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert printed_by(code) == "[]"
