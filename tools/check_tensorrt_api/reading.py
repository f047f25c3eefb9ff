"""Reads our code with the types of a package: what it uses of TensorRT."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .signatures import Signature, signatures

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
