"""Performance claims about each scenario of `benchmarks.service.load`, and their check against a result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import ge, le
from typing import Any

ScenarioResult = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """Claim that a measured value is at most, or at least, a bound."""

    text: str
    measured: Callable[[ScenarioResult], float]
    holds: Callable[[float, float], bool]
    bound: float

    def verdict(self, result: ScenarioResult) -> dict[str, Any]:
        """Check the claim against a result and return a JSON-compatible verdict."""
        measured = self.measured(result)
        return {"claim": self.text, "measured": measured, "bound": self.bound, "holds": self.holds(measured, self.bound)}


def _unexpected_statuses(result: ScenarioResult) -> float:
    return float(sum(count for status, count in result["statuses"].items() if status not in ("200", "503")))


CLAIMS: Mapping[str, tuple[Claim, ...]] = {
    "steady": (Claim("at 0.8 of capacity p99 is under 4 times p50", lambda r: r["even"]["p99_to_p50"], le, 4.0),),
    "overload": (
        Claim("at 3 times capacity goodput is 0.9 of capacity or more", lambda r: r["goodput_to_capacity"], ge, 0.9),
        Claim("99% of the refusals arrive within 50 ms of sending", lambda r: r["refused_after_sending"]["p99_ms"], le, 50.0),
        Claim("no request hangs, breaks or gets a status other than 200 and 503", _unexpected_statuses, le, 0),
        Claim("latency is back to normal after 2 s", lambda r: r["recovery_seconds"], le, 2.0),
    ),
    "slow": (
        Claim("200 clients that send one byte per second raise p50 by at most 20%", lambda r: r["p50_ms_ratio"], le, 1.2),
        Claim("no request hangs, breaks or gets a status other than 200 and 503", _unexpected_statuses, le, 0),
    ),
    "soak": (
        Claim("resident memory grows by at most 2% after the first requests", lambda r: r["growth"], le, 0.02),
        Claim("no request hangs, breaks or gets a status other than 200 and 503", _unexpected_statuses, le, 0),
    ),
    "ending": (
        Claim("every request sent before /readyz failed gets status 200 or 503", _unexpected_statuses, le, 0),
        Claim("the exit code after SIGTERM under load is 0", lambda r: r["exit_code"], le, 0),
    ),
}


def verdicts(scenario: str, result: ScenarioResult) -> list[dict[str, Any]]:
    """Return the verdict on each claim of the scenario."""
    return [claim.verdict(result) for claim in CLAIMS[scenario]]
