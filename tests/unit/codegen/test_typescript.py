"""The TypeScript types, judged by a strict compiler against the official client's own types."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from reactor.codegen.typescript import typescript_files
from reactor.codegen.typescript_types import comment
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from tests.support.driver import CLIENTS, require_node

TSCONFIG = {
    "compilerOptions": {
        "target": "ES2022",
        "lib": ["ES2023", "DOM"],
        "module": "ESNext",
        "moduleResolution": "bundler",
        "strict": True,
        "noUncheckedIndexedAccess": True,
        "exactOptionalPropertyTypes": True,
        "verbatimModuleSyntax": True,
        "skipLibCheck": False,
        "types": [],
        "noEmit": True,
    },
    "include": ["src", "convex"],
}

# Every `@ts-expect-error` is itself an error when the line below it compiles.
GOOD = """
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import type { FunctionArgs, FunctionReturnType, GenericDataModel } from "convex/server";
import { api, internal } from "../convex/_generated/api";
import type { DataModel, Doc, Id, TableNames } from "../convex/_generated/dataModel";

declare const user: Id<"users">;
declare const shape: Id<"shapes">;
const client = new ConvexClient("http://127.0.0.1:3210");
const http = new ConvexHttpClient("http://127.0.0.1:3210");

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => undefined;

export async function calls() {
  const listed = await client.query(api.things.list, { owner: user, limit: 3 });
  same<typeof listed, Array<Doc<"everything">>>(true);
  const first = listed[0]!;
  same<(typeof first)["big"], bigint>(true);
  same<(typeof first)["raw"], ArrayBuffer>(true);
  same<(typeof first)["choice"], "a" | "b" | 3 | true>(true);
  same<(typeof first)["maybe"], number | null>(true);
  same<(typeof first)["byUser"], Record<Id<"users">, number>>(true);
  const label: string | undefined = first.points[0]?.label;
  same<FunctionReturnType<typeof api.things.shape>, Doc<"shapes"> | null>(true);
  const found = await http.query(api.things.shape, { id: shape });
  if (found !== null && found.kind === "circle") same<typeof found.radius, number>(true);
  await http.query(api.things.nothing);
  await client.query(api.things.nothing, {});
  same<FunctionArgs<typeof api.things.echo>["many"], Record<string, Array<number>> | undefined>(true);
  const echoed = await client.mutation(api.things.echo, { big: 1n, raw: new ArrayBuffer(1), point: { x: 1, y: 2 } });
  same<typeof echoed, bigint>(true);
  const tools = await client.query(api.admin.tools, {});
  same<typeof tools, string>(true);
  await client.mutation(api.admin.tools.delete, { why: "test" });
  await client.action(api.things.untyped, { anything: label });
  client.onUpdate(api.things.list, { owner: user }, (all) => all.map((one) => one.text));
  same<TableNames, "users" | "shapes" | "everything">(true);
  const model: GenericDataModel = {} as DataModel;
  return [model, internal.things.sweep];
}

export async function mistakes() {
  // @ts-expect-error an argument is missing
  await client.query(api.things.list, {});
  // @ts-expect-error the id of another table
  await client.query(api.things.list, { owner: shape });
  // @ts-expect-error an argument too many
  await client.query(api.things.list, { owner: user, more: 1 });
  // @ts-expect-error a number where an Int64 belongs
  await client.mutation(api.things.echo, { big: 1, raw: new ArrayBuffer(1), point: { x: 1, y: 2 } });
  // @ts-expect-error arguments for a function that takes none
  await client.query(api.things.nothing, { a: 1 });
  // @ts-expect-error a mutation is no query
  await client.query(api.things.echo, { big: 1n, raw: new ArrayBuffer(1), point: { x: 1, y: 2 } });
  // @ts-expect-error there is no such function
  await client.query(api.things.lst, { owner: user });
  // @ts-expect-error an internal function
  await client.mutation(internal.things.sweep, {} as never);
}
"""


def compile_(directory: Path, app: App, source: str) -> str:
    require_node()
    generated = directory / "convex" / "_generated"
    generated.mkdir(parents=True)
    for name, text in typescript_files(app).items():
        (generated / name).write_text(text)
    (directory / "src").mkdir()
    (directory / "src" / "check.ts").write_text(source)
    (directory / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    (directory / "node_modules").symlink_to(CLIENTS / "node_modules")
    tsc = CLIENTS / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(["node", str(tsc)], cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


@pytest.mark.node
def test_a_strict_compiler_takes_what_is_right_and_refuses_what_is_wrong(tmp_path: Path, app: App) -> None:
    assert compile_(tmp_path, app, GOOD) == ""


@pytest.mark.node
def test_an_app_without_a_schema_has_documents_of_any_shape(tmp_path: Path) -> None:
    source = """
      import type { GenericDataModel } from "convex/server";
      import { api } from "../convex/_generated/api";
      import type { DataModel, Doc, Id } from "../convex/_generated/dataModel";
      export const id = "x" as Id<"anything">;
      export const doc: Doc<"anything"> = { whatever: 1 };
      export const model: GenericDataModel = {} as DataModel;
      // @ts-expect-error it has no functions
      api.things;
    """
    assert compile_(tmp_path, App({}), source) == ""


def test_docstrings_become_comments_and_nothing_ends_one_early() -> None:
    assert comment("One line. ", "  ") == "  /** One line. */\n"
    assert comment("First.\n\n        Second */ line.\n          Indented.\n    ", "") == (
        "/**\n * First.\n *\n * Second *\\/ line.\n *   Indented.\n */\n"
    )
    assert comment(None, "") == comment("  ", "") == ""


def test_the_same_app_gives_the_same_text(app: App) -> None:
    assert typescript_files(app) == typescript_files(app)
    assert list(typescript_files(app)) == ["api.d.ts", "api.js", "dataModel.d.ts"]


def test_the_page_of_the_sample_app_has_the_types_of_its_functions() -> None:
    """Else: reactor codegen --out examples/app_builder_web/convex/_generated"""
    root = Path(__file__).parents[3]
    loader = AppLoader(root)
    generated = root / "examples" / "app_builder_web" / "convex" / "_generated"
    try:
        for name, text in typescript_files(loader.load()).items():
            assert (generated / name).read_text() == text
    finally:
        loader.close()
