"""What the runtime makes of tables without a server: which columns stay, and Java's stack traces in one line."""

from __future__ import annotations

from dh_kernel.runtime.tables import in_short, outer

IN_JAVA = """io.deephaven.engine.table.impl.select.FormulaEvaluationException: In formula: X = Integer.parseInt(S)
\tat io.deephaven.temp.Formula.apply(Formula.java:179)
caused by java.lang.NumberFormatException: For input string: "x0"
\tat java.base/java.lang.Integer.parseInt(Integer.java:652)
\t... 3 more
"""
IN_PYTHON = """io.deephaven.engine.table.impl.select.FormulaEvaluationException: In formula: X = (int) boom(i)
\tat io.deephaven.temp.Formula.apply(Formula.java:179)
caused by java.lang.RuntimeException: Error in Python interpreter:
Traceback (most recent call last):
  File "n.py", line 6, in boom
ValueError: not today

\tat org.jpy.PyLib.callAndReturnObject(Native Method)
"""


def test_a_stack_trace_in_short() -> None:
    formula = "FormulaEvaluationException: In formula: X = "
    assert in_short(IN_JAVA) == f'{formula}Integer.parseInt(S) — NumberFormatException: For input string: "x0"'
    assert in_short(IN_PYTHON) == f"{formula}(int) boom(i) — ValueError: not today"
    assert in_short("java.lang.IllegalStateException: closed") == "IllegalStateException: closed"
    assert in_short("") == ""


def test_the_outer_ones_stay() -> None:
    assert outer(3, 20) == [0, 1, 2]
    assert outer(10, 4) == [0, 1, 8, 9]
    assert outer(10, 3) == [0, 1, 9]
    assert outer(10, 0) == [0]
    assert outer(0, 5) == []
