"""The parameter that a study varies: how it is written, and that the shipped studies vary what their axis says."""

from __future__ import annotations

import itertools

import pytest

from ltmed.config.compose import compose
from ltmed.config.instantiate import per_stage
from ltmed.errors import UserError
from ltmed.runs.directory import flatten
from ltmed.studies import catalogue
from ltmed.studies.axis import Axis
from tests.studies.named import load

STUDIES = [name for name in catalogue.names() if load(name).axis is not None]


@pytest.mark.parametrize(
    ("pattern", "name", "point"),
    [
        ("R={x}", "R=1000", (1000.0, "")),
        ("R={x}", "R=1e-4", (1e-4, "")),
        ("R={x}", "CE", None),
        ("R={x}", "R=", None),
        ("R={x}", "xR=1", None),
        ("{x} outputs", "32 outputs", (32.0, "")),
        ("{line}, {x} outputs", "CE, RS, 32 outputs", (32.0, "CE, RS")),
        ("a.b={x}", "axb=1", None),
        ("m {x}", "m -0.5", (-0.5, "")),
    ],
)
def test_numbers_are_read_from_names(pattern, name, point):
    assert Axis.read({"row": pattern}, "f").point(name) == point


def test_the_label_is_the_pattern_without_its_number_if_it_is_not_given():
    assert Axis.read({"column": "{line}, R={x}"}, "f").label == "R"
    assert Axis.read({"column": "R={x}", "label": "size"}, "f").label == "size"


@pytest.mark.parametrize(
    "node",
    ["R={x}", {}, {"row": "R"}, {"row": "{x}{x}"}, {"row": "{x}", "column": "{x}"}, {"row": "{x}", "lable": "R"}],
)
def test_mistakes_name_the_file(node):
    with pytest.raises(UserError, match=r"study\.axis.* of some\.yaml"):
        Axis.read(node, "some.yaml")


def test_the_papers_curves_have_one():
    assert {"lmd/curve_j", "lmd/curve_lambda_1", "lmd/curve_r", "pcct/margin", "pcct/output_dimension"} <= set(STUDIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_the_number_is_that_of_a_setting(name):
    """Of the first, the second and the last point: one setting has the number of the name in all of them."""
    study = load(name)
    axis = study.axis
    assert axis is not None
    names = study.rerun if axis.along == "row" else list(study.columns)
    placed = {one: place for one in names if (place := axis.point(one))}
    assert len(placed) > 2
    lines = {line for _, line in placed.values()} if axis.along == "row" else set(study.rerun)
    for line in itertools.islice(sorted(lines), 2):
        own = [one for one, (_, of) in placed.items() if axis.along == "column" or of == line]
        settings = {}
        for one in (own[0], own[1], own[-1]):
            row, column = (one, next(iter(study.columns))) if axis.along == "row" else (line, one)
            settings[placed[one][0]] = _settings(study.overrides(row, column, {"fold": "0", "seed": "0"}))
        keys = set.intersection(*({k for k, v in of.items() if _equal(v, x)} for x, of in settings.items()))
        assert keys, f"{name}: no setting of {line or 'the study'} has the numbers {list(settings)}"


def _settings(overrides: tuple[str, ...]) -> dict:
    cfg = compose(list(overrides))
    for key in ("epochs",):
        for stage, value in per_stage(cfg[key], list(cfg.method.stages), key).items():
            if value is not None:
                cfg.method.stages[stage][key] = value
    from omegaconf import OmegaConf

    return flatten(OmegaConf.to_container(cfg, resolve=False))


def _equal(value: object, x: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == pytest.approx(x)
