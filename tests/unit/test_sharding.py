"""What FSDP cannot shard is refused before training; test_fsdp.py trains the rest."""

from types import SimpleNamespace

import pytest
from tiny import ENCODERS, build_model

from span_marker.training.sharding import check_sharding, whole_weights


def plugin(fsdp_version=2, auto_wrap_policy=None):
    return SimpleNamespace(fsdp_version=fsdp_version, auto_wrap_policy=auto_wrap_policy)


def size_based(*args):
    """Stands for a policy of torch."""


@pytest.mark.parametrize("family", ENCODERS)
def test_families_whose_weights_are_tied_are_refused(family):
    model = build_model(family, entity_max_length=2)
    check_sharding(None, model)
    tied = family in ("t5", "mt5")
    if not tied:
        check_sharding(plugin(), model)
        return
    with pytest.raises(ValueError, match=r"encoder\.shared\.weight and encoder\.encoder\.embed_tokens\.weight"):
        check_sharding(plugin(), model)


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (plugin(fsdp_version=1), "fsdp_version=1 must be 2"),
        (plugin(auto_wrap_policy=size_based), "size_based must be NO_WRAP"),
    ],
)
def test_other_ways_of_sharding_are_refused(plugin, message):
    with pytest.raises(ValueError, match=message):
        check_sharding(plugin, build_model(entity_max_length=2))


def test_models_that_are_not_sharded_stay_as_they_are():
    model = build_model(entity_max_length=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with whole_weights(model):
        pass
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
