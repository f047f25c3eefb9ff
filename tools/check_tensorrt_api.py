"""Checks our use of TensorRT against the real API of every release that is served: no GPU, no TensorRT.

NVIDIA's Python bindings are a wheel of 1 MB. They import once three shared objects stand in for TensorRT's libraries,
which a C compiler makes of nine empty functions. In a process for each release, the code that uses TensorRT is read
with types: a parameter called `builder` is a `Builder`, and what `builder.create_network()` gives, the docstring of
the real method says. So every class, attribute, member of an enum, method and keyword that occurs is looked up in the
real classes, and so is everything that the tests' doubles of TensorRT claim to have.

    python tools/check_tensorrt_api.py              all releases
    python tools/check_tensorrt_api.py 10.3 11.4    some of them

Exit code 1 where something differs, with its name.
"""

from __future__ import annotations

import ast
import enum
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "tensorrt-api"

# Release -> the wheel of its bindings.
RELEASES = {
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.7": "tensorrt-cu12-bindings==10.7.0",
    "10.9": "tensorrt-cu12-bindings==10.9.0.34",
    "10.13": "tensorrt-cu12-bindings==10.13.3.9",
    "10.16": "tensorrt-cu12-bindings==10.16.1.11",
    "11.0": "tensorrt-cu13-bindings==11.0.0.114",
    "11.2": "tensorrt-cu13-bindings==11.2.1.2",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
# The package that also builds ahead of time; it has names that TensorRT lacks. Installed for development.
RTX = "tensorrt_rtx"
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
# Every C function that the bindings import from those.
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)

# What an untyped parameter of our functions is, by its name.
PARAMETERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "definition": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "layer": "ILayer",
    "found": "ILayer",
    "tensor": "ITensor",
}
# Classes that the docstrings of a few methods call by their name in C++.
IN_CPP = {"IParserError": "ParserError"}
# Classes of the tests' doubles that are not called as TensorRT calls them.
DOUBLES = {
    "Network": "INetworkDefinition",
    "Config": "IBuilderConfig",
    "Profile": "IOptimizationProfile",
    "TimingCache": "ITimingCache",
    "Inspector": "EngineInspector",
    "Engine": "ICudaEngine",
    "Context": "IExecutionContext",
    "_Tensor": "ITensor",
}


def sources() -> list[Path]:
    """The files of the package that use TensorRT: that call something `trt`."""
    found = []
    for folder in ("export", "runtimes", "trm_deploy"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = (node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name))
            if "trt" in names:
                found.append(path)
    return found


# --- Signatures, from the docstrings of the bindings.


@dataclass(frozen=True)
class Signature:
    """One way to call something, `self` left out."""

    names: tuple[str, ...]
    required: int
    returns: str

    def takes(self, positional: int, keywords: list[str]) -> bool:
        """Whether it can be called with so many positional arguments, and these keywords."""
        given = {*self.names[:positional], *keywords}
        return (
            positional <= len(self.names)
            and set(keywords) <= set(self.names[positional:])
            and set(self.names[: self.required]) <= given
        )


def signatures(function: Any) -> list[Signature]:
    """Every overload of a bound function; none where its docstring gives none."""
    text = function.__doc__ or ""
    # Overloads are numbered below a line that says nothing; a getter's signature has no name.
    lines = re.findall(r"^\d+\. \w+(\(.*)$", text, re.MULTILINE) or re.findall(r"\A\w*(\(.*)$", text, re.MULTILINE)
    return [_signature(line) for line in lines if not line.startswith("(*args")]


def _signature(line: str) -> Signature:
    """Read "(self: Builder, flags: int = 0) -> INetworkDefinition"."""
    depth, start, parts, end = 0, 1, [], len(line)
    for place, character in enumerate(line):
        depth += (character in "([{<") - (character in ")]}" or (character == ">" and line[place - 1] != "-"))
        if depth == 0 or (depth == 1 and character == ","):
            parts.append(line[start:place].strip())
            start = place + 1
        if depth == 0:
            end = place
            break
    parts = [part for part in parts if part and not re.match(r"self\b|arg0: ", part) and part != "*"]
    names = tuple(part.partition(":")[0].partition("=")[0].strip() for part in parts)
    return Signature(names, sum(" = " not in part for part in parts), line[end + 1 :].partition("->")[2].strip())


# --- Types of expressions.


@dataclass(frozen=True)
class Instance:
    """A value of a class of TensorRT."""

    kind: Any


@dataclass(frozen=True)
class Several:
    """A list of values."""

    of: Any


@dataclass(frozen=True)
class Method:
    """A method of a class of TensorRT."""

    kind: Any
    name: str


Scope = dict[str, Any]


@dataclass
class Uses:
    """What was looked up in a package.

    Attributes:
        found: names that are there.
        missing: name -> the first place that uses it.
        optional: name -> whether it is there; asked for with getattr and a default.
        refused: calls that no overload takes.
    """

    found: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
    optional: dict[str, bool] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


class Reader:
    """Reads a file of ours with the types of a package; `name` is the file's, for messages."""

    def __init__(self, trt: ModuleType, uses: Uses, name: str) -> None:
        self._trt = trt
        self._uses = uses
        self._file = name
        self._own: Scope = {}  # attributes of `self`

    def read(self, text: str) -> None:
        """Look up all that a file uses."""
        self._block(ast.parse(text).body, {"trt": self._trt})

    def _place(self, node: Any) -> str:
        return f"{self._file}:{node.lineno}"

    def _block(self, statements: list[Any], scope: Scope) -> None:
        for statement in statements:
            self._statement(statement, scope)

    def _statement(self, node: Any, scope: Scope) -> None:
        if isinstance(node, ast.FunctionDef):
            self._function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            value = self.type_of(node.value, scope) if node.value is not None else None
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._assign(target, value, scope)
        elif isinstance(node, ast.For):
            self._assign(node.target, _element(self.type_of(node.iter, scope)), scope)
            self._block([*node.body, *node.orelse], scope)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    self._statement(child, scope)
                elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                    self._block(child.body, scope)
                else:
                    self.type_of(child, scope)

    def _function(self, node: ast.FunctionDef, scope: Scope) -> None:
        inner = dict(scope)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            untyped = argument.annotation is None or ast.unparse(argument.annotation) == "Any"
            known = getattr(self._trt, PARAMETERS.get(argument.arg, ""), None) if untyped else None
            inner[argument.arg] = Instance(known) if known else None
            if argument.arg == "trt":
                inner["trt"] = self._trt
        self._block(node.body, inner)

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        bases = [self.type_of(base, scope) for base in node.bases]
        for method in (item for item in node.body if isinstance(item, ast.FunctionDef)):
            for base in bases:
                if isinstance(base, type) and not method.name.startswith("_"):
                    # TensorRT calls it, by position.
                    self._call(Method(base, method.name), len(method.args.args) - 1, [], method)
        outer, self._own = self._own, {}
        silent, self._uses = self._uses, Uses()
        self._block(node.body, scope)  # what `self` has
        self._uses = silent
        self._block(node.body, scope)
        self._own = outer

    def _assign(self, target: Any, value: Any, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            # A function that picks the package is not followed.
            scope[target.id] = self._trt if target.id == "trt" and value is None else value
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
            self._own.setdefault(target.attr, value)
        else:
            self.type_of(target, scope)

    def type_of(self, node: Any, scope: Scope) -> Any:
        """The type of an expression; None where it has nothing to do with TensorRT."""
        if isinstance(node, ast.Name):
            return scope.get(node.id)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return self._own.get(node.attr)
            return self._attribute(self.type_of(node.value, scope), node.attr, node)
        if isinstance(node, ast.Call):
            return self._called(node, scope)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)):
            inner = dict(scope)
            for part in node.generators:
                self._assign(part.target, _element(self.type_of(part.iter, inner)), inner)
                for condition in part.ifs:
                    self.type_of(condition, inner)
            if isinstance(node, ast.DictComp):
                self.type_of(node.key, inner)
                return self.type_of(node.value, inner) and None
            return Several(self.type_of(node.elt, inner))
        if isinstance(node, ast.Lambda):
            self.type_of(node.body, {**scope, **dict.fromkeys((a.arg for a in node.args.args), None)})
            return None
        if isinstance(node, (ast.IfExp, ast.BoolOp)):
            parts = [self.type_of(child, scope) for child in ast.iter_child_nodes(node)]
            return next((part for part in reversed(parts) if part is not None), None)
        for child in ast.iter_child_nodes(node):
            self.type_of(child, scope)
        return None

    def _attribute(self, base: Any, name: str, node: Any) -> Any:
        kind = base.kind if isinstance(base, Instance) else base
        if not isinstance(kind, (type, ModuleType)) or not self._is_there(kind, name, node):
            return None
        value = getattr(kind, name)
        if isinstance(value, property):
            return self._result(signatures(value.fget))
        if isinstance(base, Instance) and callable(value):
            return Method(kind, name)
        if isinstance(value, type):
            return value
        return Instance(kind) if isinstance(kind, type) and isinstance(value, kind) else None

    def _is_there(self, kind: Any, name: str, node: Any) -> bool:
        if name.startswith("__") and name not in ("__init__", "__version__"):
            return hasattr(kind, name)  # Python's own
        whole = name if isinstance(kind, ModuleType) else f"{_name(kind)}.{name}"
        if hasattr(kind, name):
            self._uses.found.add(whole)
            return True
        self._uses.missing.setdefault(whole, self._place(node))
        return False

    def _called(self, node: ast.Call, scope: Scope) -> Any:
        given = [self.type_of(argument, scope) for argument in node.args]
        for keyword in node.keywords:
            self.type_of(keyword.value, scope)
        called = ast.unparse(node.func)
        if called == "getattr" and len(node.args) == 3 and isinstance(node.args[1], ast.Constant):
            if isinstance(given[0], Instance):
                name = str(node.args[1].value)
                self._uses.optional[f"{_name(given[0].kind)}.{name}"] = hasattr(given[0].kind, name)
            return None
        keywords = [keyword.arg for keyword in node.keywords if keyword.arg]
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        if called in ("flavours.make", "make") and given and isinstance(given[0], type):
            return self._call(given[0], 1, [], node)  # `make(trt.Builder, logger, ...)`
        function = self.type_of(node.func, scope)
        if isinstance(function, (Method, type)):
            return self._call(function, -1 if starred else len(node.args), keywords, node)
        method = next((argument for argument in given if isinstance(argument, Method)), None)
        # A helper that is given a method gives its results one by one.
        return Several(self._result(signatures(getattr(method.kind, method.name)))) if method else None

    def _call(self, function: Any, positional: int, keywords: list[str], node: Any) -> Any:
        """Look a call up; `positional` is -1 where it is not known."""
        kind, name = (function.kind, function.name) if isinstance(function, Method) else (function, "__init__")
        if not self._is_there(kind, name, node):
            return None
        overloads = signatures(getattr(kind, name))
        if overloads and positional >= 0 and not any(one.takes(positional, keywords) for one in overloads):
            self._uses.refused.append(
                f"{self._place(node)}: {_name(kind)}.{name} is called with {positional} arguments"
                f" {' '.join(keywords)}, expected {' or '.join(', '.join(one.names) for one in overloads)}"
            )
        self._uses.found.update(f"{_name(kind)}.{name}({keyword})" for keyword in keywords)
        return Instance(kind) if name == "__init__" else self._result(overloads)

    def _result(self, overloads: list[Signature]) -> Any:
        for one in overloads:
            name = re.split(r"\.|::", one.returns)[-1]
            kind = getattr(self._trt, IN_CPP.get(name, name), None)
            if isinstance(kind, type):
                return Instance(kind)
        return None


def _element(value: Any) -> Any:
    return value.of if isinstance(value, Several) else None


def _name(kind: Any) -> str:
    return str(kind.__qualname__)


def tables(trt: ModuleType, uses: Uses) -> None:
    """Look up what our code has in a table instead: the settings of the layers that trt-network reads."""
    from trm_deploy.runtimes.backends.trt_network.network import KINDS

    for kind, (class_name, settings) in KINDS.items():
        if not hasattr(trt.LayerType, kind):
            continue  # older parsers make other layers
        for name in (class_name, *(f"{class_name}.{setting}" for setting in settings)):
            found: Any = trt
            for part in name.split("."):
                found = getattr(found, part, None)
            if found is None:
                uses.missing[name] = f"KINDS[{kind!r}]"
            else:
                uses.found.add(name)


# --- The tests' doubles.


def doubles(version: str) -> dict[str, dict[str, int | None]]:
    """What the double of a release has: class or enum -> member -> the arguments of a method, None of another."""
    from tests import stand_ins

    module = stand_ins.tensorrt(version, cast(Any, None))  # CUDA is only for what runs
    found: dict[str, dict[str, int | None]] = {"": {name: None for name in vars(module) if name != "__spec__"}}
    tree = ast.parse(Path(stand_ins.__file__).read_text())
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        name = DOUBLES.get(node.name, node.name)
        if node.name in DOUBLES or hasattr(module, name):
            found[name] = dict(_members(node))
    for name, value in vars(module).items():
        if isinstance(value, (SimpleNamespace, enum.EnumMeta)):
            members = vars(value) if isinstance(value, SimpleNamespace) else value.__members__
            found[name] = dict.fromkeys((member for member in members if not member.startswith("_")), None)
    return found


def _members(node: ast.ClassDef) -> Iterator[tuple[str, int | None]]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            yield item.name, None if item.decorator_list else len(item.args.args) - 1


def claims(trt: ModuleType, double: dict[str, dict[str, int | None]], other: dict[str, dict[str, int | None]]) -> Uses:
    """Look up what a double has, and that what only the other release's double has is not there."""
    uses = Uses()
    for name, members in double.items():
        kind = getattr(trt, name, None) if name else trt
        for member, arguments in members.items():
            whole = f"{name}.{member}" if name else member
            if not hasattr(kind, member):
                uses.missing[whole] = "the double"
                continue
            uses.found.add(whole)
            overloads = signatures(getattr(kind, member))
            if arguments is not None and overloads and not any(one.takes(arguments, []) for one in overloads):
                uses.refused.append(f"the double's {whole} takes {arguments} arguments, TensorRT's does not")
        for member in other.get(name, {}).keys() - members.keys():
            if hasattr(kind, member):
                uses.refused.append(f"the double has no {name}.{member}, and TensorRT does")
    return uses


# --- One process a release.


def look_up(package: str, given: str) -> None:
    """In a process of its own: print what a package has, as JSON."""
    trt = importlib.import_module(package)
    uses = Uses()
    for path in sources():
        Reader(trt, uses, str(path.relative_to(ROOT))).read(path.read_text())
    tables(trt, uses)
    double, other = json.loads(given) or ({}, {})
    claimed = claims(trt, double, other)
    answer = {"found": sorted(uses.found | claimed.found), "missing": uses.missing, "optional": uses.optional}
    absent = [f"the double has {name}, TensorRT does not" for name in claimed.missing]
    print(json.dumps({**answer, "refused": [*uses.refused, *claimed.refused, *absent]}))


def bindings(release: str) -> Path:
    """The folder with a release's bindings, fetched where it is not there; raises CalledProcessError."""
    folder = BUILD / release
    if not folder.exists():
        download = BUILD / f"{release}.download"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--dest", str(download), RELEASES[release]],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        (wheel,) = download.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(download / "open")
        (download / "open").rename(folder)  # whole, or not there
    return folder


def stubs(major: str) -> Path:
    """A folder with shared objects in the place of TensorRT's libraries; raises CalledProcessError."""
    folder = BUILD / f"stubs-{major}"
    folder.mkdir(parents=True, exist_ok=True)
    code = "\n".join(f"void *{symbol}(void) {{ return 0; }}" for symbol in SYMBOLS)
    for name in LIBRARIES:
        file = f"lib{name}.so.{major}"
        subprocess.run(
            [os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-xc", "-", f"-Wl,-soname,{file}", "-o", folder / file],
            input=code, check=True, capture_output=True, text=True,
        )  # fmt: skip
    return folder


def answer_of(package: str, folders: list[Path], libraries: Path | None, given: Any) -> dict[str, Any]:
    """What the process of a package prints."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (*folders, ROOT)))
    if libraries is not None:
        environment["LD_LIBRARY_PATH"] = str(libraries)
    done = subprocess.run(
        [sys.executable, __file__, "--package", package],
        input=json.dumps(given), check=True, capture_output=True, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def differences(answers: dict[str, dict[str, Any]], known: dict[str, dict[str, dict[str, int | None]]]) -> list[str]:
    """What our code or the doubles have wrong, in words."""
    everywhere = set().union(*(answer["found"] for answer in answers.values()))
    everywhere.update(name for answer in answers.values() for name, there in answer["optional"].items() if there)
    wrong = []
    for release, answer in answers.items():
        wrong += [f"TensorRT {release}: {text}" for text in answer["refused"]]
        for name, place in answer["missing"].items():
            kind, _, member = name.rpartition(".")
            claimed = member in known.get(release, {}).get(kind, {})
            if claimed or name not in everywhere:
                what = "the double has it" if claimed else "no release that was looked at has it"
                wrong.append(f"TensorRT {release} has no {name} ({place} uses it, {what})")
    for name in sorted({name for answer in answers.values() for name in answer["optional"]} - everywhere):
        wrong.append(f"{name} is asked for with a default, and no release that was looked at has it")
    return wrong


def main(arguments: list[str]) -> int:
    """Check the named releases, or all."""
    if arguments[:1] == ["--package"]:
        look_up(arguments[1], sys.stdin.read())
        return 0
    sys.path.insert(0, str(ROOT))  # the doubles are among the tests
    of_double = {"10": doubles("10.3"), "11": doubles("11")}
    answers = {}
    try:
        for release in arguments or RELEASES:
            major = release.partition(".")[0]
            pair = of_double[major], of_double["11" if major == "10" else "10"]
            answers[release] = answer_of("tensorrt_bindings", [bindings(release)], stubs(major), pair)
            print(f"TensorRT {release}: {len(answers[release]['found'])} names checked", flush=True)
        if importlib.util.find_spec(RTX):
            answers["for RTX"] = answer_of(RTX, [], None, None)
            print(f"TensorRT for RTX: {len(answers['for RTX']['found'])} names checked")
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd))}\nfails: {error.stderr}", file=sys.stderr)
        return 1
    wrong = differences(answers, {release: of_double[release.partition(".")[0]] for release in arguments or RELEASES})
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
