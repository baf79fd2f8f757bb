"""Loading apps: names on the wire, errors with file and line, several apps in one process, reloading (api.md "Loading apps")."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reactor.errors import FunctionError, FunctionNotFound, SchemaError
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from tests.unit.runtime.harness import write_files

HEAD = "from reactor import *\n"


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Any]:
    loaders: list[AppLoader] = []

    def make(files: dict[str, str], name: str = "app") -> AppLoader:
        loader = AppLoader(write_files(tmp_path / name, files))
        loaders.append(loader)
        return loader

    yield make
    for loader in loaders:
        loader.close()


def a_query(name: str = "f", result: str = "1") -> str:
    return (
        f"from reactor import QueryCtx, query\n@query\nasync def {name}(ctx: QueryCtx) -> int:\n    return {result}\n"
    )


def test_paths_are_camel_cased_modules_and_names(load: Any) -> None:
    app: App = load(
        {
            "functions/__init__.py": "",
            "functions/import_data.py": a_query("read_all_") + "@query(name='verbatim_name')\nasync def g(ctx): pass\n",
            "functions/admin/__init__.py": a_query("root"),
            "functions/admin/deep_tools.py": a_query("list_"),
            "functions/no_init/module.py": a_query("f"),
        }
    ).load()
    assert list(app.functions) == [
        "admin:root",
        "admin/deepTools:list",
        "importData:readAll",
        "importData:verbatim_name",
        "noInit/module:f",
    ]


def test_functions_are_in_source_order_and_imported_ones_stay_where_they_are_declared(load: Any) -> None:
    app: App = load(
        {
            "functions/a.py": "from functions.b import z, y\n" + a_query("second"),
            "functions/b.py": a_query("z") + a_query("y") + "also_y = y\n",
        }
    ).load()
    assert list(app.functions) == ["a:second", "b:z", "b:y"]


def test_a_function_made_of_another_modules_handler_is_declared_where_it_is_made(load: Any) -> None:
    app: App = load(
        {
            "functions/a.py": "from reactor import query\nfrom functions.z import f\ng = query(f.handler)\n",
            "functions/z.py": a_query("f"),
        }
    ).load()
    assert list(app.functions) == ["a:g", "z:f"]


def test_schema_and_functions_are_both_optional(load: Any) -> None:
    assert load({}, "empty").load().functions == {}
    app = load({"functions/f.py": a_query()}, "no_schema").load()
    assert (list(app.functions), app.schema) == (["f:f"], None)


@pytest.mark.parametrize(
    ("files", "where", "what"),
    [
        ({"functions/f.py": HEAD + "@query\ndef f(ctx): pass\n"}, "functions/f.py:2", "async def f"),
        ({"functions/f.py": HEAD + "@query\nasync def f(ctx):\n    yield 1\n"}, "functions/f.py:2", "can't yield"),
        ({"functions/f.py": HEAD + "@query\nasync def f(ctx, *args): pass\n"}, "functions/f.py:2", r"\*args"),
        (
            {"functions/f.py": HEAD + "import datetime\n@query\nasync def f(ctx, a: datetime.datetime): pass\n"},
            "functions/f.py:3",
            "milliseconds",
        ),
        ({"functions/f.py": HEAD + "@query\nasync def f(ctx, a: 'Missing'): pass\n"}, "functions/f.py:2", "Missing"),
        ({"functions/f.py": HEAD + "x = 1 / 0\n"}, "functions/f.py:2", "ZeroDivisionError: division by zero"),
        ({"functions/f.py": HEAD + "def broken(:\n"}, "functions/f.py:2", "SyntaxError"),
        (
            {"functions/f.py": "import nowhere_to_be_found\n"},
            "functions/f.py:1",
            "No module named 'nowhere_to_be_found'",
        ),
        ({"functions/f.py": "from functions import nowhere\n"}, "functions/f.py:1", "nowhere"),
        (
            {"functions/f.py": "from schema import nothing\n", "schema.py": HEAD + "schema = define_schema()\n"},
            "functions/f.py:1",
            "nothing",
        ),
        (
            {"schema.py": HEAD + "class T(Document):\n    a: set[int]\nschema = define_schema(t=define_table(T))\n"},
            "schema.py:4",
            "list",
        ),
        ({"schema.py": "x = 1\n"}, "schema.py", "must define `schema = define_schema"),
        ({"functions/f.py": a_query("do_it") + a_query("doIt")}, "functions/f.py:6", "are both 'f:doIt' on the wire"),
        (
            {"functions/do_it.py": a_query(), "functions/doIt.py": a_query()},
            "functions/do_it.py",
            "are both the module 'doIt'",
        ),
        (
            {"functions/f.py": HEAD + "@query\n@mutation\nasync def f(ctx): pass\n"},
            "functions/f.py:2",
            "decorated twice",
        ),
    ],
)
def test_what_can_not_work_is_an_import_error_that_names_file_and_line(
    load: Any, files: dict[str, str], where: str, what: str
) -> None:
    with pytest.raises(SchemaError, match=what) as caught:
        load(files).load()
    assert where in str(caught.value)
    assert "_reactor_app" not in str(caught.value)


def test_files_that_nobody_could_import_are_errors_and_underscored_ones_are_left_alone(load: Any) -> None:
    assert load({"functions/_private.py": a_query(), "functions/f.py": a_query()}).load().functions.keys() == {"f:f"}
    with pytest.raises(SchemaError, match="'two-words' can't be the name of a module"):
        load({"functions/two-words.py": a_query()}, "dashed").load()


def test_all_bad_signatures_are_told_at_once(load: Any) -> None:
    text = HEAD + "@query\nasync def f(ctx, *a): pass\n@query\nasync def g(ctx, **b): pass\n"
    with pytest.raises(SchemaError) as caught:
        load({"functions/f.py": text}).load()
    assert "f.py:2" in str(caught.value)
    assert "f.py:4" in str(caught.value)


def test_two_apps_in_one_process_have_modules_of_their_own(load: Any) -> None:
    def files(name: str) -> dict[str, str]:
        return {
            "schema.py": HEAD
            + f"class {name}(Document):\n    x: int\nschema = define_schema(t=define_table({name}))\n",
            "helpers.py": f"NAME = '{name}'\n",
            "functions/a.py": "import helpers\nfrom functions import b\nimport functions.b as again\nimport functions.c.d\n"
            + a_query()
            + f"from schema import {name}\nNAME = helpers.NAME + b.NAME + functions.c.d.NAME\nassert again is b\n"
            + "def late():\n    from functions.b import NAME\n    import schema\n    return NAME, schema\n",
            "functions/b.py": f"from functions import a\nNAME = 'b{name}'\n",
            "functions/c/d.py": f"from ..b import NAME as other\nNAME = 'd' + other\nclass Box:\n    value = '{name}'\n",
        }

    one, two = load(files("One"), "one").load(), load(files("Two"), "two").load()
    for app, name in ((one, "One"), (two, "Two")):
        module = app.modules["a"]
        assert f"{name}b{name}db{name}" == module.NAME
        text, schema = module.late()
        assert (text, hasattr(schema, name)) == (f"b{name}", True)
        box = app.modules["c/d"].Box()
        assert type(pickle.loads(pickle.dumps(box))) is type(box)
    assert "schema" not in sys.modules or not str(sys.modules["schema"].__file__).startswith(str(one.root))
    assert one.generation != two.generation


def test_a_reload_sees_edits_at_once_and_gives_a_new_generation(load: Any, tmp_path: Path) -> None:
    loader: AppLoader = load({"functions/f.py": a_query(result="1"), "functions/g.py": "from functions.f import f\n"})
    first = loader.load()
    for number in range(2, 6):
        write_files(tmp_path / "app", {"functions/f.py": a_query(result=str(number))})
        again = loader.reload()
        assert again.generation > first.generation
        coroutine = again.functions["f:f"].handler(None)
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        assert stop.value.value == number
    # An old function object resolves by its path.
    assert again.resolve_reference(first.functions["f:f"].function) is again.functions["f:f"]


def test_a_failed_reload_puts_the_old_modules_back(load: Any, tmp_path: Path) -> None:
    loader: AppLoader = load(
        {
            "functions/f.py": a_query(),
            "functions/g.py": "VALUE = 1\ndef late():\n    from functions import f\n    return f\n",
        }
    )
    app = loader.load()
    before = {name: module for name, module in sys.modules.items() if name.startswith(loader.package)}
    write_files(tmp_path / "app", {"functions/g.py": "VALUE = 2\nraise RuntimeError('broken edit')\n"})
    with pytest.raises(SchemaError, match=r"g.py:2: RuntimeError: broken edit"):
        loader.reload()
    after = {name: module for name, module in sys.modules.items() if name.startswith(loader.package)}
    assert after == before
    assert app.modules["g"].late() is app.modules["f"]


def test_a_deleted_module_is_gone_after_a_reload(load: Any, tmp_path: Path) -> None:
    loader: AppLoader = load({"functions/f.py": a_query(), "functions/g.py": a_query()})
    loader.load()
    (tmp_path / "app/functions/g.py").unlink()
    assert list(loader.reload().functions) == ["f:f"]


def test_under_real_names_the_modules_are_those_that_everybody_imports(tmp_path: Path) -> None:
    root = write_files(
        tmp_path / "app",
        {
            "schema.py": HEAD + "schema = define_schema()\n",
            "helper.py": "VALUE = 1\n",
            "functions/f.py": a_query() + "import helper, schema\nVALUE = helper.VALUE\n",
        },
    )
    program = f"""
import sys
from reactor.runtime.loader import AppLoader
loader = AppLoader({str(root)!r}, private=False)
app = loader.load()
from functions import f
import schema
assert app.modules["f"] is f and f.schema is schema
assert str(f.f) == "f:f"
open({str(root / "helper.py")!r}, "w").write("VALUE = 2\\n")
again = loader.reload()
import functions.f
assert again.modules["f"] is functions.f is not f and functions.f.VALUE == 2, functions.f.VALUE
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_importing_the_package_loads_next_to_nothing() -> None:
    program = (
        "import sys, reactor; print(sum(name.startswith('reactor') for name in sys.modules), 'msgspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False\n"


def test_every_public_name_is_there() -> None:
    import reactor

    for name in reactor.__all__:
        assert getattr(reactor, name) is not None
    assert set(reactor.__all__) <= set(dir(reactor))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = reactor.nonsense  # type: ignore[attr-defined]


def test_resolving_hides_internal_functions_and_checks_kinds(load: Any) -> None:
    """server-semantics 23, 24; client-protocol 17"""
    text = HEAD + "@query\nasync def list_(ctx): pass\n@internal_mutation\nasync def hidden(ctx): pass\n"
    app: App = load(
        {
            "functions/messages.py": text,
            "functions/greet.py": "from reactor import *\n@query\nasync def default(ctx): pass\n",
        }
    ).load()
    for path in ("messages:list", "messages.js:list"):
        assert app.resolve(path, kind="query").path == "messages:list"
    for path in ("greet", "greet:default", "greet.js", "greet.js:default"):
        assert app.resolve(path).path == "greet:default"
    for _ in range(2):
        for path in ("messages:hidden", "messages:nope"):
            with pytest.raises(FunctionNotFound) as caught:
                app.resolve(path)
            assert str(caught.value) == f"Could not find public function for '{path}'."
        assert app.resolve("messages:hidden", admin=True).is_internal
    with pytest.raises(
        FunctionNotFound, match=r"Could not find function for 'messages'\. Did you forget to run `npx convex dev`\?"
    ):
        app.resolve("messages:default", admin=True)
    with pytest.raises(
        FunctionError, match=r"^Trying to execute messages.js:list as Mutation, but it is defined as Query\.$"
    ):
        app.resolve("messages:list", kind="mutation")
    for path in ("a b:c", "a:b:c", "", ":f", "a/:f", "a:1f", "x" * 65 + ":f", "a/" * 5000 + "b:c"):
        with pytest.raises(FunctionError) as bad:
            app.resolve(path)
        assert bad.value.code == "BadConvexFunctionIdentifier"
        assert len(str(bad.value)) < 1000


def test_wrappers_below_the_decorator_are_seen_through(load: Any) -> None:
    text = HEAD + (
        "import functools\n"
        "def logged(f):\n"
        "    @functools.wraps(f)\n"
        "    async def wrapper(ctx, *args, **kwargs):\n"
        "        return await f(ctx, *args, **kwargs)\n"
        "    return wrapper\n"
        "@query\n@logged\nasync def f(ctx: QueryCtx, some_name: int = 3) -> int:\n    '''Doc.'''\n    return some_name\n"
    )
    app: App = load({"functions/f.py": text}).load()
    fn = app.functions["f:f"]
    assert dict(fn.arguments.parameters) == {"some_name": "someName"}
    assert (fn.function.__doc__, fn.line) == ("Doc.", 8)
