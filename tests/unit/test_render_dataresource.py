"""The JSON form, for programs: its exact shape and values."""

from __future__ import annotations

import json

import pyarrow as pa

from dh_kernel.model import Column, TableInfo, TablePreview
from dh_kernel.render import RenderOptions, table_bundle


def resource(preview: TablePreview, **options: object) -> object:
    bundle = table_bundle(preview, options=RenderOptions(**options))  # type: ignore[arg-type]
    assert list(bundle) == ["text/plain", "text/html", "application/vnd.dataresource+json"]
    return json.loads(json.dumps(bundle["application/vnd.dataresource+json"], allow_nan=False))


def test_the_shape() -> None:
    columns = (Column("X", "long"), Column("D", "double"), Column("When", "java.time.Instant"))
    data = pa.table(
        {
            "X": pa.array([1, None, 2**60]),
            "D": pa.array([0.5, float("nan"), None]),
            "When": pa.array([None, 0, 1], pa.timestamp("ns", "UTC")),
        }
    )
    assert resource(TablePreview(TableInfo("t", "Table", 100, False, columns), data)) == {
        "profile": "tabular-data-resource",
        "name": "t",
        "schema": {
            "fields": [
                {"name": "X", "type": "integer", "deephavenType": "long"},
                {"name": "D", "type": "number", "deephavenType": "double"},
                {"name": "When", "type": "datetime", "deephavenType": "java.time.Instant"},
            ]
        },
        "data": [
            {"X": 1, "D": 0.5, "When": None},
            {"X": None, "D": "NaN", "When": "1970-01-01T00:00:00.000000000Z"},
            {"X": "1152921504606846976", "D": None, "When": "1970-01-01T00:00:00.000000001Z"},
        ],
        "deephaven": {"kind": "Table", "rows": 100, "shown": 3, "refreshing": False},
    }


def test_no_rows_read() -> None:
    info = TableInfo(None, "PartitionedTable", None, True, (Column("X", "int"),))
    assert resource(TablePreview(info, None, "why")) == {
        "profile": "tabular-data-resource",
        "name": None,
        "schema": {"fields": [{"name": "X", "type": "integer", "deephavenType": "int"}]},
        "data": [],
        "deephaven": {"kind": "PartitionedTable", "rows": None, "shown": 0, "refreshing": True, "problem": "why"},
    }


def test_hidden_columns_are_absent_and_counted() -> None:
    info = TableInfo("t", "Table", 1, False, tuple(Column(name, "int") for name in "ABCD"))
    shown = resource(TablePreview(info, pa.table({name: pa.array([1]) for name in "ABCD"})), columns=2)
    assert isinstance(shown, dict)
    assert shown["data"] == [{"A": 1, "D": 1}]
    assert [field["name"] for field in shown["schema"]["fields"]] == ["A", "D"]
    assert shown["deephaven"]["columns"] == 4


def test_values_keep_what_text_and_html_cut() -> None:
    info = TableInfo("t", "Table", 2, False, (Column("S", "java.lang.String"),))
    values = ["x" * 10_000, "\u202ey\n" * 4_000]
    shown = resource(TablePreview(info, pa.table({"S": pa.array(values)})))
    assert isinstance(shown, dict)
    assert shown["data"][0] == {"S": values[0]}
    assert shown["data"][1] == {"S": values[1][:10_000] + "… (20,000 bytes)"}


def test_lone_surrogates_and_repeated_names() -> None:
    info = TableInfo("\ud83d", "Table", 1, False, (Column("A", "int"), Column("A", "\ud83d"), Column("A (2)", "int")))
    data = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["A", "A", "A (2)"])
    shown = resource(TablePreview(info, data))
    assert isinstance(shown, dict)
    assert shown["name"] == "\\ud83d"
    assert shown["data"] == [{"A": 1, "A (2)": 2, "A (2) (2)": 3}]
    assert shown["schema"]["fields"][1] == {"name": "A (2)", "type": "string", "deephavenType": "\\ud83d"}
