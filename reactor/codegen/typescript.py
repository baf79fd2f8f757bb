"""`convex/_generated` for a TypeScript front end: `api.d.ts`, `api.js` and `dataModel.d.ts` from a loaded app.

They stand where Convex's own generated files would, and say the same to a front end: `api.messages.list` with its argument
and result types, `Doc<"messages">`, `Id<"messages">`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reactor.codegen.files import MARK
from reactor.codegen.function_tree import ModuleNode, function_tree
from reactor.codegen.typescript_types import TypeWriter, comment, property_name, string_literal
from reactor.runtime.app import App
from reactor.runtime.registry import RegisteredFunction
from reactor.schema.table import TableDefinition
from reactor.schema.validators import Object, Union, Validator

__all__ = ["typescript_files"]

_HEADER: Final = f"""\
/* eslint-disable */
/**
 * {MARK} from the functions and the schema of a reactor app. Don't edit it:
 * `reactor dev --codegen DIR` keeps it fresh.
 */
"""

_API_JS: Final = f"""\
{_HEADER}
import {{ anyApi, componentsGeneric }} from "convex/server";

export const api = anyApi;
export const internal = anyApi;
export const components = componentsGeneric();
"""

_SYSTEM_TABLES: Final = frozenset({"_storage", "_scheduled_functions"})


def typescript_files(app: App) -> dict[str, str]:
    """File name → text. The same app gives the same text."""
    return {"api.d.ts": _api(app), "api.js": _API_JS, "dataModel.d.ts": _data_model(app)}


def _type_writer(app: App) -> TypeWriter:
    tables = app.types.tables
    documents = {name: table.document_validator for name, table in tables.items()}
    return TypeWriter(documents, frozenset(tables) | _SYSTEM_TABLES if app.schema is not None else frozenset())


def _api(app: App) -> str:
    writer = _type_writer(app)
    functions = list(app.functions.values())
    public = _module(function_tree(fn for fn in functions if not fn.is_internal), writer, "")
    internal = _module(function_tree(fn for fn in functions if fn.is_internal), writer, "")
    body = (
        "/**\n * References to the public functions of the app, for `useQuery`, `useMutation` and the clients.\n */\n"
        f"export declare const api: {public};\n\n"
        "/**\n * References to its internal functions, which clients can't call.\n */\n"
        f"export declare const internal: {internal};\n\n"
        "export declare const components: {};\n"
    )
    imports = ['import type { FunctionReference } from "convex/server";\n']
    if "GenericId<" in body:
        imports.append('import type { GenericId } from "convex/values";\n')
    used = [name for name in ("Doc", "Id") if f"{name}<" in body.replace("GenericId<", "")]
    if used:
        imports.append(f'import type {{ {", ".join(used)} }} from "./dataModel.js";\n')
    return f"{_HEADER}\n{''.join(imports)}\n{body}"


def _module(node: ModuleNode, writer: TypeWriter, indent: str) -> str:
    inner = indent + "  "
    entries = "".join(_entries(node, writer, inner))
    return f"{{\n{entries}{indent}}}" if entries else "{}"


def _entries(node: ModuleNode, writer: TypeWriter, indent: str) -> Iterator[str]:
    for name, fn in node.functions.items():
        reference = _reference(fn, writer, indent)
        below = node.modules.get(name)  # a function and a module of one name: the object is both
        if below is not None:
            reference += f" & {_module(below, writer, indent)}"
        yield f"{comment(fn.function.__doc__, indent)}{indent}{property_name(name)}: {reference};\n"
    for name, below in node.modules.items():
        if name not in node.functions:
            yield f"{indent}{property_name(name)}: {_module(below, writer, indent)};\n"


def _reference(fn: RegisteredFunction, writer: TypeWriter, indent: str) -> str:
    inner = indent + "  "
    arguments = writer.write(fn.arguments.validator, inner)
    returns = writer.write(fn.returns.validator, inner)
    visibility = "internal" if fn.is_internal else "public"
    return (
        f"FunctionReference<\n{inner}{string_literal(fn.kind)},\n{inner}{string_literal(visibility)},\n"
        f"{inner}{arguments},\n{inner}{returns}\n{indent}>"
    )


def _data_model(app: App) -> str:
    if app.schema is None:
        return f"""{_HEADER}
import type {{ AnyDataModel }} from "convex/server";
import type {{ GenericId }} from "convex/values";

/** The app has no schema: any table may hold anything. */
export type TableNames = string;
export type Doc<TableName extends TableNames = TableNames> = any;
export type Id<TableName extends TableNames = TableNames> = GenericId<TableName>;
export type DataModel = AnyDataModel;
"""
    writer = _type_writer(app)
    tables = "".join(_table(table, writer) for table in app.schema.tables.values())
    return f"""{_HEADER}
import type {{ DocumentByName, SystemTableNames, TableNamesInDataModel }} from "convex/server";
import type {{ GenericId }} from "convex/values";

/** The names of all tables. */
export type TableNames = TableNamesInDataModel<DataModel>;

/** A document of a table: `Doc<"messages">`. */
export type Doc<TableName extends TableNames> = DocumentByName<DataModel, TableName>;

/** The id of a document: a string that is told apart by its table. */
export type Id<TableName extends TableNames | SystemTableNames> = GenericId<TableName>;

/** The tables, their documents and their indexes. */
export type DataModel = {{
{tables}}};
"""


def _table(table: TableDefinition, writer: TypeWriter) -> str:
    indexes = {
        "by_id": ["_id"],
        "by_creation_time": ["_creationTime"],
        **{index.name: [*index.fields, "_creationTime"] for index in table.indexes},
    }
    listed = "".join(
        f"      {property_name(name)}: [{', '.join(map(string_literal, fields))}];\n"
        for name, fields in indexes.items()
    )
    searches = {
        index.name: f"{{ searchField: {string_literal(index.search_field)}; filterFields: {_names(index.filter_fields)} }}"
        for index in table.search_indexes
    }
    vectors = {
        index.name: f"{{ vectorField: {string_literal(index.vector_field)}; dimensions: {index.dimensions}; "
        f"filterFields: {_names(index.filter_fields)} }}"
        for index in table.vector_indexes
    }
    paths = _names(tuple(dict.fromkeys(_paths(table.document_validator))))
    return (
        f"  {property_name(table.name)}: {{\n"
        f"    document: {writer.spelled_out(table.document_validator, '    ')};\n"
        f"    fieldPaths: {paths};\n"
        f"    indexes: {{\n{listed}    }};\n"
        f"    searchIndexes: {_configurations(searches)};\n"
        f"    vectorIndexes: {_configurations(vectors)};\n"
        f"  }};\n"
    )


def _names(names: tuple[str, ...]) -> str:
    return " | ".join(map(string_literal, names)) or "never"


def _configurations(named: Mapping[str, str]) -> str:
    lines = "".join(f"      {property_name(name)}: {text};\n" for name, text in named.items())
    return f"{{\n{lines}    }}" if lines else "{}"


def _paths(validator: Validator, prefix: str = "") -> Iterator[str]:
    """The dotted paths of all fields, those of nested objects included."""
    if isinstance(validator, Union):
        for member in validator.members:
            yield from _paths(member, prefix)
    elif isinstance(validator, Object):
        for name, (inner, _) in validator.fields.items():
            yield prefix + name
            yield from _paths(inner, f"{prefix}{name}.")
