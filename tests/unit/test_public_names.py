"""Public names: none is lost, all are typed, and importing the package loads what prediction needs and no more."""

import ast
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from fresh import printed_by

import span_marker

VERSION_2_0_0_DEV0 = """
Comparison Coverage Entity ErrorReport SpanMarkerConfig SpanMarkerModel SpanMarkerModelCardData SpanMarkerOutput
SpanMarkerTokenizer Trainer TrainingArguments __version__ analyse_errors analyse_predictions calibrate compare_reports
infer_labels pipeline read_annotations suggest_limits to_docs tune_thresholds validate write_brat write_conll
write_docbin write_html write_jsonl
""".split()

VERSION_1 = "SpanMarkerConfig SpanMarkerModel SpanMarkerModelCardData Trainer TrainingArguments pipeline".split()

METHODS_OF_VERSION_1 = "from_pretrained generate_model_card predict push_to_hub save_pretrained try_cuda".split()

slowly = partial(pytest.param, marks=pytest.mark.slow)
"""Each order of imports takes a process of its own."""

HEAVY = (
    "accelerate.test_utils",
    "datasets",
    "pandas",
    "peft",
    "spacy",
    "transformers.trainer",
    "transformers.pipelines",
)
"""Modules that prediction does not need."""


@pytest.mark.parametrize("name", [*VERSION_2_0_0_DEV0, *VERSION_1])
def test_no_public_name_is_lost(name):
    assert getattr(span_marker, name) is not None
    assert name in span_marker.__all__
    assert name in dir(span_marker)


def test_british_spellings_stay():
    assert span_marker.analyse_errors is span_marker.analyze_errors
    assert span_marker.analyse_predictions is span_marker.analyze_predictions


@pytest.mark.parametrize("name", METHODS_OF_VERSION_1)
def test_no_method_of_the_model_is_lost(name):
    assert callable(getattr(span_marker.SpanMarkerModel, name))


def test_unknown_names_are_errors():
    with pytest.raises(AttributeError, match="has no attribute 'Trainr'"):
        span_marker.Trainr  # noqa: B018


def test_names_that_are_imported_late_are_those_that_type_checkers_see():
    tree = ast.parse(Path(span_marker.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == span_marker._MODULES
    assert set(span_marker.__all__) == {*typed, *(set(vars(span_marker)) & set(span_marker.__all__))}


def test_importing_the_model_loads_what_prediction_needs():
    code = "import sys; from span_marker import SpanMarkerModel"
    assert printed_by(f"{code}; print([name for name in {HEAVY!r} if name in sys.modules])") == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "from transformers import pipeline; import span_marker",
        slowly("import span_marker; from transformers import pipeline"),
        slowly("from span_marker import pipeline"),
        slowly("import span_marker.integrations.pipeline"),
    ],
)
def test_the_task_is_registered_whatever_is_imported_first(imports):
    code = (
        f"{imports}; from transformers.pipelines import PIPELINE_REGISTRY; "
        "print('span-marker' in PIPELINE_REGISTRY.get_supported_tasks())"
    )
    assert printed_by(code) == "True"


def test_importing_the_package_loads_nothing_heavy():
    """Neither does ``dir``, which is what tab completion asks for. Nothing is said."""
    heavy = (*HEAVY, "numpy", "torch", "transformers")
    code = (
        "import sys, span_marker; assert dir(span_marker) == sorted(span_marker.__all__); "
        f"print([n for n in {heavy!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "imports",
    [
        "from transformers import AutoConfig, AutoModel; import span_marker",
        "from span_marker.encoders.support import check_encoder; from span_marker import Coverage; "
        "from transformers import AutoConfig, AutoModel",
        slowly("import span_marker; from transformers import AutoConfig, AutoModel"),
        slowly("from span_marker import SpanMarkerConfig; from transformers import AutoConfig, AutoModel"),
        "import span_marker.checkpoints.loading; from transformers import AutoConfig, AutoModel",
        slowly("import span_marker.encoders.support; from transformers import AutoConfig, AutoModel"),
        slowly("import span_marker.modeling; from transformers import AutoConfig, AutoModel"),
        slowly("from span_marker import Trainer; from transformers import AutoConfig, AutoModel"),
    ],
)
def test_transformers_knows_the_model_whatever_is_imported_first(imports):
    code = (
        f"{imports}; config = AutoConfig.for_model('span-marker'); "
        "print(type(config).__name__, AutoModel._model_mapping[type(config)].__name__)"
    )
    assert printed_by(code) == "SpanMarkerConfig SpanMarkerModel"


def test_modules_are_attributes_of_the_package():
    assert printed_by("import span_marker; print(span_marker.data.read_annotations.__name__)") == "read_annotations"
