"""Columns made fit to travel: bounded values, and text where Arrow Flight bends a type or cannot carry it.

Neighbours: `tables`, `kinds` (their previews go through here). Refuses to read rows: columns are functions of the table's,
which the server evaluates when the kernel reads, on its own threads.

The functions are method handles put together here, so that nothing is compiled for a preview (a formula costs a javac run for
each new column name) and no value waits for Python's lock. A text of more than `MOST_CHARACTERS` comes as its first ones, a
zero character and its length; of an array come the first `MOST_ELEMENTS`, and its length in a column behind the table's own.
"""

from __future__ import annotations

import threading
from typing import Any

MOST_CHARACTERS = 10_000
MOST_ELEMENTS = 500
_VECTORS = "io.deephaven.vector."
_AS_THEY_ARE = frozenset(
    {"byte", "short", "char", "int", "long", "float", "double", "boolean"}
    | {f"java.lang.{name}" for name in ("Boolean", "Byte", "Short", "Character", "Integer", "Long", "Float", "Double")}
    | {f"java.time.{name}" for name in ("Instant", "LocalDate", "LocalTime", "LocalDateTime", "Duration")}
    | {"java.math.BigInteger"}  # not BigDecimal: Flight strips its trailing zeros (42.7)
)
_ONLY_AS_TEXT = frozenset({"java.math.BigDecimal", "java.time.ZonedDateTime", "java.time.Period"})  # also inside arrays


class Carrier:
    """Makes a table's columns fit to travel. One for a session; keeps the functions that it has made."""

    def __init__(self, jpy: Any) -> None:
        self._jpy = jpy
        self._table = jpy.get_type("io.deephaven.engine.table.Table")
        self._functions: dict[str, Any] = {}
        self._handles: Any = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Make the function for texts beforehand: the first one takes Java a tenth of a second."""
        name = "java.lang.String"
        self._functions_of(name, self._jpy.get_type("java.lang.Class").forName(name))

    def fit(self, table: Any, definitions: list[Any]) -> tuple[Any, list[int]]:
        """Java's table with the columns of these definitions alone, made fit; and which of them have lengths behind."""
        table = self._jpy.cast(table, self._table)  # many operations promise less than a table
        names = [str(definition.getName()) for definition in definitions]
        if len(names) < table.numColumns():
            table = self._jpy.cast(table.view(names), self._table)
        columns, lengths, taken = [], [], set(names)
        for index, (name, definition) in enumerate(zip(names, definitions, strict=True)):
            kind = definition.getDataType()
            made, measured = self._functions_of(str(kind.getName()), kind, definition.getComponentType())
            if made is not None:
                columns.append(self._column(name, kind, name, made, definition))
            if measured is not None:
                extra = next(extra for extra in map("Length{}".format, range(index, 1 << 30)) if extra not in taken)
                taken.add(extra)
                lengths.append((index, self._column(name, kind, extra, measured)))
        # Lengths first: they are of the columns before these are cut.
        return self._updated(self._updated(table, [column for _, column in lengths]), columns), [index for index, _ in lengths]

    def _updated(self, table: Any, columns: list[Any]) -> Any:
        if not columns:
            return table
        made = self._jpy.get_type("java.util.ArrayList")()
        for column in columns:
            made.add(column)
        return self._jpy.cast(table.updateView(made), self._table)

    def _column(self, source: str, kind: Any, name: str, function: Any, definition: Any = None) -> Any:
        column = self._jpy.get_type("io.deephaven.engine.table.impl.select.FunctionalColumn")
        if function[1] is None:  # of the source's own type
            assert definition is not None
            return column(source, kind, name, kind, definition.getComponentType(), function[0])
        if function[1].isArray():
            return column(source, kind, name, function[1], function[1].getComponentType(), function[0])
        return column(source, kind, name, function[1], function[0])

    def _functions_of(self, name: str, kind: Any, component: Any = None) -> tuple[Any, Any]:
        """What a type's values go through, and what tells their length; each (function, class of what it makes) or None."""
        if name in _AS_THEY_ARE:
            return None, None
        element = component if component is not None and _innermost(component) in _ONLY_AS_TEXT else None
        key = name if element is None else f"{name} of {element.getName()}"
        with self._lock:
            if key not in self._functions:
                self._handles = self._handles or _Handles(self._jpy)
                self._functions[key] = self._handles.functions(name, kind, element)
            return self._functions[key]  # type: ignore[no-any-return]


def _innermost(component: Any) -> str:
    """The name of the class of what arrays of arrays hold."""
    while component.isArray():
        component = component.getComponentType()
    return str(component.getName())


class _Handles:
    """Puts functions together from Java's own methods.

    Source: `java.lang.invoke.MethodHandles`, `MethodHandleProxies`, Java 17; `FunctionalColumn`, Deephaven 42.7.
    """

    def __init__(self, jpy: Any) -> None:
        self._jpy = jpy
        self._all = jpy.get_type("java.lang.invoke.MethodHandles")
        self._lookup = self._all.publicLookup()
        self._types = jpy.get_type("java.lang.invoke.MethodType")
        self._proxies = jpy.get_type("java.lang.invoke.MethodHandleProxies")
        self._integer, self._long_class = jpy.get_type("java.lang.Integer"), jpy.get_type("java.lang.Long")
        self._int, self._long = self._integer.TYPE, self._long_class.TYPE
        self._boolean = jpy.get_type("java.lang.Boolean").TYPE
        self._string, self._object = self._class("java.lang.String"), self._class("java.lang.Object")
        self._function = self._class("java.util.function.Function")

    def functions(self, name: str, kind: Any, element: Any = None) -> tuple[Any, Any]:
        """As `Carrier._functions_of`. `element`: the class of an array's elements, if they are to be texts."""
        if name == "java.lang.String":
            return (self._proxy(self._unless_null(self._cut_text(), self._string)), self._string), None
        if kind.isArray():
            return self._array(kind, element)
        if name.startswith(_VECTORS):
            return self._vector(kind, element)
        return (self._proxy(self._unless_null(self._as_text(kind), kind)), self._string), None

    def _class(self, name: str) -> Any:
        return self._jpy.get_type("java.lang.Class").forName(name)

    def _proxy(self, handle: Any) -> Any:
        return self._proxies.asInterfaceInstance(self._function, handle)

    def _type(self, returned: Any, *parameters: Any) -> Any:
        return self._types.methodType(returned, self._jpy.array("java.lang.Class", list(parameters)))

    def _virtual(self, owner: Any, name: str, returned: Any, *parameters: Any) -> Any:
        return self._lookup.findVirtual(owner, name, self._type(returned, *parameters))

    def _static(self, owner: str, name: str, returned: Any, *parameters: Any) -> Any:
        return self._lookup.findStatic(self._class(owner), name, self._type(returned, *parameters))

    def _with(self, handle: Any, position: int, *values: Any) -> Any:
        return self._all.insertArguments(handle, position, self._jpy.array("java.lang.Object", list(values)))

    def _after(self, handle: Any, *filters: Any) -> Any:
        """`handle(f1(x), f2(x), …)` of one x."""
        filtered = self._all.filterArguments(handle, 0, self._jpy.array("java.lang.invoke.MethodHandle", list(filters)))
        kind = filters[0].type().parameterType(0)
        positions = self._jpy.array("int", [0] * len(filters))
        return self._all.permuteArguments(filtered, self._type(handle.type().returnType(), kind), positions)

    def _unless_null(self, handle: Any, kind: Any) -> Any:
        """Null for null."""
        returned = handle.type().returnType()
        is_null = self._static("java.util.Objects", "isNull", self._boolean, self._object)
        nothing = self._all.dropArguments(self._all.constant(returned, None), 0, self._jpy.array("java.lang.Class", [kind]))
        return self._all.guardWithTest(is_null.asType(self._type(self._boolean, kind)), nothing, handle)

    def _cut_text(self) -> Any:
        string = self._string
        begins = self._virtual(string, "startsWith", self._boolean, string, self._int)
        is_longer = self._with(begins, 1, "", self._integer.valueOf(MOST_CHARACTERS + 1))
        substring = self._virtual(string, "substring", string, self._int, self._int)
        start = self._with(substring, 1, self._integer.valueOf(0), self._integer.valueOf(MOST_CHARACTERS))
        concat = self._virtual(string, "concat", string, string)
        length = self._all.filterReturnValue(
            self._virtual(string, "length", self._int), self._static("java.lang.String", "valueOf", string, self._int)
        )
        mark = self._all.filterReturnValue(length, self._with(concat, 0, "\0"))
        return self._all.guardWithTest(is_longer, self._after(concat, start, mark), self._all.identity(string))

    def _as_text(self, kind: Any) -> Any:
        """`toString`, or what it throws: one odd object must not cost the whole table."""
        to_string = self._static("java.util.Objects", "toString", self._string, self._object)
        concat = self._virtual(self._string, "concat", self._string, self._string)
        told = self._all.filterReturnValue(to_string, self._with(concat, 0, "(cannot be read: "))
        told = self._all.filterReturnValue(told, self._with(concat, 1, ")"))
        fault = self._class("java.lang.Throwable")
        safe = self._all.catchException(to_string, fault, told.asType(self._type(self._string, fault)))
        return self._all.filterReturnValue(safe, self._unless_null(self._cut_text(), self._string)).asType(
            self._type(self._string, kind)
        )

    def _array(self, kind: Any, element: Any) -> tuple[Any, Any]:
        length = self._all.arrayLength(kind)
        text = self._all.filterReturnValue(length, self._static("java.lang.String", "valueOf", self._string, self._int))
        return self._cut_and_length(self._start_of_array(kind), text, kind, element)

    def _start_of_array(self, kind: Any) -> Any:
        general = kind if kind.getComponentType().isPrimitive() else self._class("[Ljava.lang.Object;")
        copy = self._static("java.util.Arrays", "copyOf", general, general, self._int).asType(
            self._type(kind, kind, self._int)
        )
        most = self._with(self._static("java.lang.Math", "min", self._int, self._int, self._int), 1, MOST_ELEMENTS)
        return self._after(copy, self._all.identity(kind), self._all.filterReturnValue(self._all.arrayLength(kind), most))

    def _vector(self, kind: Any, element: Any) -> tuple[Any, Any]:
        part = self._virtual(kind, "subVector", kind, self._long, self._long)
        part = self._all.insertArguments(part, 1, self._jpy.array("java.lang.Object", [self._long_class.valueOf(0)]))
        size = self._virtual(kind, "size", self._long)
        most = self._static("java.lang.Math", "min", self._long, self._long, self._long)
        shown = self._all.filterReturnValue(size, self._with(most, 1, self._long_class.valueOf(MOST_ELEMENTS)))
        text = self._all.filterReturnValue(size, self._static("java.lang.String", "valueOf", self._string, self._long))
        return self._cut_and_length(self._after(part, self._all.identity(kind), shown), text, kind, element)

    def _cut_and_length(self, cut: Any, length: Any, kind: Any, element: Any) -> tuple[Any, Any]:
        made = cut if element is None else self._texts(cut, kind, element)
        of_its_type = self._proxy(self._unless_null(made, kind)), None if element is None else made.type().returnType()
        return of_its_type, (self._proxy(self._unless_null(length, kind)), self._string)

    def _texts(self, cut: Any, kind: Any, element: Any) -> Any:
        """The elements' texts as an array, null for null: `asList(…).stream().map(text).toArray(String[]::new)`."""
        array, stream = self._class("[Ljava.lang.Object;"), self._class("java.util.stream.Stream")
        a_list, collection = self._class("java.util.List"), self._class("java.util.Collection")
        if kind.isArray():
            made = cut.asType(self._type(array, kind))
        else:
            made = self._all.filterReturnValue(cut, self._virtual(kind, "toArray", array))
        if element.isArray():
            text = self._texts(self._start_of_array(element), element, element.getComponentType())
        else:
            text = self._as_text(element)
        text_of = self._proxy(self._unless_null(text, element))
        texts, maker = text.type().returnType().arrayType(), self._class("java.util.function.IntFunction")
        new_array = self._proxies.asInterfaceInstance(maker, self._all.arrayConstructor(texts))
        for step in (
            self._static("java.util.Arrays", "asList", a_list, array).asFixedArity(),
            self._virtual(collection, "stream", stream).asType(self._type(stream, a_list)),
            self._with(self._virtual(stream, "map", stream, self._function), 1, text_of),
            self._with(self._virtual(stream, "toArray", array, maker), 1, new_array),
        ):
            made = self._all.filterReturnValue(made, step)
        return made.asType(self._type(texts, kind))
