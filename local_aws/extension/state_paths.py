"""JSONPath filters in state machines: ``$.rows[?(@.status=='failed')]``.

ministack answers null for a path that it does not understand, so a state machine takes the
wrong branch and succeeds. Here one filter with == or != works as on AWS (always a list), and
any other path that cannot be understood fails the execution.
"""

from __future__ import annotations

import json
import operator
import re
from typing import Any

from ministack.services import stepfunctions

from local_aws.extension.registry import Registry

_FILTER = re.compile(
    r"""(?P<list>\$[^\[?]*) \[\?\( \s* @(?P<field>(\.\w+)+) \s* (?P<operator>==|!=) \s*
        (?P<literal>'[^']*'|"[^"]*"|-?\d+(\.\d+)?|true|false|null) \s* \)\] (?P<rest>.*)""",
    re.VERBOSE,
)
_OPERATORS = {"==": operator.eq, "!=": operator.ne}


def register(registry: Registry) -> None:
    """Put our reader around ministack's."""
    registry.replace(stepfunctions, "_resolve_path", _with_filters)


def _with_filters(own: Any) -> Any:
    def resolve(path: str, data: Any) -> Any:
        filtered = _FILTER.fullmatch(path or "")
        if filtered is None:
            _refuse_unknown(path)
            return own(path, data)
        compare, literal = _OPERATORS[filtered["operator"]], _literal(filtered["literal"])
        items = own(filtered["list"], data) or []
        chosen = [item for item in items if compare(own(f"${filtered['field']}", item), literal)]
        rest = filtered["rest"]
        _refuse_unknown(f"${rest}")
        return [own(f"${rest}", item) for item in chosen] if rest else chosen

    return resolve


def _literal(text: str) -> Any:
    return text[1:-1] if text[0] in "'\"" else json.loads(text)


def _refuse_unknown(path: str) -> None:
    if path and path.startswith(("$.", "$[")) and stepfunctions._parse_jsonpath_tokens(path) is None:
        raise stepfunctions._ExecutionError(
            "States.Runtime", f"the path {path} is not understood by the local AWS"
        )
