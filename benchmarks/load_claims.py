"""What is claimed of each scenario of `benchmarks.load`, and whether it holds in a result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import ge, le
from typing import Any

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """`measured` of a scenario's result is at most, or at least, `bound`."""

    says: str
    measured: Callable[[Result], float]
    holds: Callable[[float, float], bool]
    bound: float

    def verdict(self, result: Result) -> dict[str, Any]:
        """Ready for JSON."""
        measured = self.measured(result)
        return {"claim": self.says, "measured": measured, "bound": self.bound, "holds": self.holds(measured, self.bound)}


def _lost(result: Result) -> float:
    return float(sum(count for status, count in result["statuses"].items() if status not in ("200", "503")))


CLAIMS: Mapping[str, tuple[Claim, ...]] = {
    "steady": (Claim("at 0.8 of capacity p99 is under 4 times p50", lambda r: r["even"]["p99_by_p50"], le, 4.0),),
    "overload": (
        Claim("at 3 times capacity goodput is 0.9 of capacity or more", lambda r: r["goodput_by_capacity"], ge, 0.9),
        Claim("the rest is refused within 50 ms of sending (99 of 100)", lambda r: r["refused_from_sending"]["p99_ms"], le, 50.0),
        Claim("requests that hang, break or are answered otherwise", _lost, le, 0),
        Claim("latency is as usual again after 2 s", lambda r: r["seconds_until_twice_that_again"], le, 2.0),
    ),
    "slow": (
        Claim("beside 200 clients of a byte a second p50 is 1.2 times what it is without, or less", lambda r: r["p50_ms_ratio"], le, 1.2),
        Claim("requests that hang, break or are answered otherwise", _lost, le, 0),
    ),
    "soak": (
        Claim("resident memory grows by less than 0.02 after the first requests", lambda r: r["growth"], le, 0.02),
        Claim("requests that hang, break or are answered otherwise", _lost, le, 0),
    ),
    "ending": (
        Claim("requests sent before /readyz said no that got neither 200 nor 503", _lost, le, 0),
        Claim("the exit code after SIGTERM under load", lambda r: r["exit_code"], le, 0),
    ),
}


def verdicts(scenario: str, result: Result) -> list[dict[str, Any]]:
    """Of each claim about that scenario."""
    return [claim.verdict(result) for claim in CLAIMS[scenario]]
