"""Against the last accepted report: an engine fails when it solves, or agrees with PyTorch on, fewer puzzles than then.

The same files give the same puzzles the same answers on the same machine, so nothing may be lost there. Another
processor or another version of a library rounds otherwise, and turns puzzles about which the last bit decides: how many
those are, the baseline's own controls have counted. A share may therefore fall by 2 standard deviations of what noise
alone does, the root of that count, and by nothing where they counted none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trm_deploy.errors import InputError
from trm_deploy.evaluation.parity.bounds import SCATTER
from trm_deploy.evaluation.parity.report import AGAINST_BASELINE, SCHEMA, EngineParity, ParityReport

# What must be the same, and what to call it.
SAME = {
    "puzzles": "{} puzzles",
    "questions_sha256": "the puzzles with the digest {}",
    "max_steps": "at most {} steps",
    "halt_threshold": "the halting threshold {}",
    "attempts": "{} attempts",
}
# What must not fall, what to call it, and what of the noise decides about it.
HELD = (("solved", "solved", "solved"), ("verified", "verified", "verified"), ("same_answer", "agrees", "agreement"))


@dataclass(frozen=True)
class Baseline:
    """The last accepted report.

    Attributes:
        source: what to call it.
        settings: the values of `SAME`.
        noise: puzzles that noise turned, by the names of `Noise`.
        engines: file name -> share by the names of `FreeRun`.
    """

    source: str
    settings: dict[str, Any]
    noise: dict[str, int]
    engines: dict[str, dict[str, float | None]]

    def refuse_other(self, settings: dict[str, Any], engines: Sequence[str]) -> None:
        """Refuse a comparison that cannot be held against this one.

        Args:
            settings: the values of `SAME` of the comparison to come.
            engines: the engines' names.

        Raises:
            InputError: saying what differs; or two engines have one file name, or none is in the baseline.
        """
        for key, words in SAME.items():
            then, now = self.settings[key], settings[key]
            if then != now:
                shown = [str(value)[:12] if key == "questions_sha256" else f"{value:g}" for value in (then, now)]
                raise InputError(
                    f"{self.source}: is of {words.format(shown[0])}, this comparison of {words.format(shown[1])}",
                    hint="compare the same puzzles with the same flags, or accept a new baseline",
                )
        names = [Path(name).name for name in engines]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two engines are called {twice[0]}, a baseline knows them by their file names")
        if not set(names) & self.engines.keys():
            raise InputError(
                f"{self.source}: has {', '.join(sorted(self.engines)) or 'no engine'}, none called {', '.join(names)}",
                hint="a baseline knows engines by their file names",
            )

    def judge(self, report: ParityReport) -> ParityReport:
        """The report with what each engine lost since as a further failure, and a note where there is no "since"."""
        return replace(report, engines=[self._judge_engine(engine, report.puzzles) for engine in report.engines])

    def _judge_engine(self, engine: EngineParity, puzzles: int) -> EngineParity:
        then = self.engines.get(engine.file_name)
        if then is None:
            return replace(engine, notes=[*engine.notes, f"the baseline has no engine called {engine.file_name}"])
        shares, failures = {}, list(engine.failures)
        for name, word, noise in HELD:
            before, now = then[name], getattr(engine.free, name)
            if before is None or now is None:
                continue
            shares[name] = [before, now]
            allowed = SCATTER * math.sqrt(self.noise[noise]) / puzzles
            if now < before - allowed - 1e-9:
                what = "agrees with PyTorch on" if word == "agrees" else word
                failures.append(
                    f"{AGAINST_BASELINE}{what} {now:.1%} of the puzzles, then {before:.1%},"
                    f" expected at most {100 * allowed:.1f} points less"
                )
        return replace(engine, failures=failures, baseline=shares)


def read(path: Path) -> Baseline:
    """Read a report.json.

    Raises:
        InputError: missing, no report of a comparison, or one of another schema.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: there is no such file", hint="accept one first: trm-deploy parity ... --report DIR"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: is not a parity report ({error})", hint="expected the report.json of --report"
        ) from error
    if not isinstance(document, dict) or "schema" not in document or "engines" not in document:
        raise InputError(f"{path}: is not a parity report", hint="expected the report.json of --report")
    if document["schema"] != SCHEMA:
        raise InputError(
            f"{path}: is a report of schema {document['schema']!r}, this trm-deploy compares schema {SCHEMA}",
            hint="accept a new baseline: trm-deploy parity ... --report DIR",
        )
    try:
        return _parsed(path, document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: is not a whole parity report ({type(error).__name__}: {error})",
            hint="expected the report.json of --report",
        ) from error


def _parsed(path: Path, document: dict[str, Any]) -> Baseline:
    settings = {key: document[key] for key in SAME}
    for key in ("puzzles", "max_steps", "attempts"):
        if type(settings[key]) is not int:
            raise TypeError(f"{key} is {settings[key]!r}")
    settings["halt_threshold"] = float(settings["halt_threshold"])  # JSON has no infinity: it is a string there
    noise = {key: int(document["noise"][key]) for _, _, key in HELD}
    if min(noise.values()) < 0:
        raise ValueError(f"noise is {noise}")
    engines = {}
    for engine in document["engines"]:
        shares = {name: engine["free"][name] for name, _, _ in HELD}
        engines[Path(engine["name"]).name] = {
            name: None if share is None else _share(share) for name, share in shares.items()
        }
    return Baseline(str(path), settings, noise, engines)


def _share(value: Any) -> float:
    share = float(value)
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not a share")
    return share
