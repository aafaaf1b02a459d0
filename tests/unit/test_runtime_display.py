"""The display protocol: every object becomes a bundle that can be sent, whatever its methods do."""

from __future__ import annotations

import base64
import json
from unittest.mock import MagicMock, Mock

import pytest

from dh_kernel.runtime.display import mime_bundle, text_of


def test_a_plain_object_is_its_repr() -> None:
    assert mime_bundle(42) == ({"text/plain": "42"}, {})
    assert mime_bundle("a\nb") == ({"text/plain": "'a\\nb'"}, {})
    assert mime_bundle(None) == ({"text/plain": "None"}, {})


def test_long_containers_are_broken_into_lines_in_their_order() -> None:
    value = {f"key {n}": "x" * 20 for n in (3, 1, 2)}
    text = mime_bundle(value)[0]["text/plain"]
    assert len(text.split("\n")) == 3
    assert text.index("key 3") < text.index("key 1") < text.index("key 2")


def test_each_method_has_its_type() -> None:
    class Rich:
        def _repr_html_(self) -> str:
            return "<b>h</b>"

        def _repr_markdown_(self) -> str:
            return "**m**"

        def _repr_latex_(self) -> str:
            return "$l$"

        def _repr_svg_(self) -> str:
            return "<svg/>"

        def _repr_json_(self) -> dict[str, int]:
            return {"j": 1}

        def __repr__(self) -> str:
            return "rich"

    data, metadata = mime_bundle(Rich())
    assert data == {
        "text/html": "<b>h</b>",
        "text/markdown": "**m**",
        "text/latex": "$l$",
        "image/svg+xml": "<svg/>",
        "application/json": {"j": 1},
        "text/plain": "rich",
    }
    assert metadata == {}


def test_bytes_become_base64_and_metadata_tuples_are_split() -> None:
    class Picture:
        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            return b"\x89PNG", {"width": 10}

        def _repr_jpeg_(self) -> bytearray:
            return bytearray(b"jpeg")

    data, metadata = mime_bundle(Picture())
    assert base64.b64decode(data["image/png"]) == b"\x89PNG"
    assert base64.b64decode(data["image/jpeg"]) == b"jpeg"
    assert metadata == {"image/png": {"width": 10}}
    json.dumps(data)


def test_a_method_that_returns_none_is_left_out() -> None:
    class Shy:
        def _repr_html_(self) -> None:
            return None

    assert set(mime_bundle(Shy())[0]) == {"text/plain"}


def test_the_objects_own_bundle_goes_first() -> None:
    class Own:
        def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict[str, str], dict[str, int]]:
            return {"text/html": "own", "text/plain": "mine"}, {"m": 1}

        def _repr_html_(self) -> str:
            return "other"

    assert mime_bundle(Own()) == ({"text/html": "own", "text/plain": "mine"}, {"m": 1})


@pytest.mark.parametrize("name", ["_repr_mimebundle_", "_repr_html_", "_repr_png_"])
def test_a_method_that_raises_is_told_and_left_out(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(self: object, **asked: object) -> str:
        raise ValueError("inside")

    bad = type("Bad", (), {name: fails, "__repr__": lambda self: "bad"})
    assert mime_bundle(bad())[0] == {"text/plain": "bad"}
    assert capsys.readouterr().err == f"Bad.{name} raised ValueError: inside\n"


def test_a_repr_that_raises_is_a_note() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ValueError("no text")

    text = mime_bundle(Bad())[0]["text/plain"]
    assert "its repr raised ValueError: no text" in text
    assert "Bad" in text


def test_a_repr_whose_error_cannot_be_told_is_a_note() -> None:
    class Worse(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Bad:
        def __repr__(self) -> str:
            raise Worse

    assert "its repr raised Worse: ?" in text_of(Bad())


@pytest.mark.parametrize("made", [Mock(), MagicMock()])
def test_objects_that_invent_attributes_are_plain(made: Mock) -> None:
    """A mock has every method; none of its inventions may be sent."""
    assert mime_bundle(made) == ({"text/plain": repr(made)}, {})
    assert not made.method_calls


def test_an_attribute_that_raises_on_access_is_survived(capsys: pytest.CaptureFixture[str]) -> None:
    class Bad:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("hands off")

        def __repr__(self) -> str:
            return "bad"

    assert mime_bundle(Bad())[0] == {"text/plain": "bad"}
    assert "hands off" in capsys.readouterr().err


def test_a_class_is_not_asked_for_its_instances_forms() -> None:
    class Rich:
        def _repr_html_(self) -> str:
            return "html"

    assert set(mime_bundle(Rich)[0]) == {"text/plain"}


def test_an_attribute_that_is_no_method_is_ignored() -> None:
    class Odd:
        _repr_html_ = "not a method"

    assert set(mime_bundle(Odd())[0]) == {"text/plain"}


def test_a_figure_is_a_picture() -> None:
    figure_module = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    figure = figure_module.Figure()
    figure.add_subplot().plot([1, 2])
    data, _ = mime_bundle(figure)
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")


def test_a_plotly_figure_is_drawn_by_the_front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where plotly knows no front end: the figure's own methods say nothing but text."""
    import sys
    import types

    class BaseFigure:
        data = ("trace",)

        def to_json(self) -> str:
            return '{"data": [{"y": [1]}], "layout": {}}'

        def __repr__(self) -> str:
            return "Figure()"

    module = types.ModuleType("plotly.basedatatypes")
    module.BaseFigure = BaseFigure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plotly.basedatatypes", module)
    data, _ = mime_bundle(BaseFigure())
    assert data["application/vnd.plotly.v1+json"] == {"data": [{"y": [1]}], "layout": {}}
    assert data["text/plain"]
