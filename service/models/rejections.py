"""What lies in a folder of models and is not served, why, and when it is worth another try."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from service.models.folder_scan import Key, Look, Sight
from service.models.loader import NoRoom
from service.models.registry import Refused

logger = logging.getLogger("boxwright.models")


@dataclass(frozen=True)
class _Refusal:
    told: Refused
    sight: Sight
    needed: int | None  # bytes, where room is all that it lacks
    passing: bool  # the system's fault, not the file's


class Refusals:
    """Of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.count = 0  # so far; one that is refused again for the same reason counts once
        self._refusals: dict[Key, _Refusal] = {}
        self._troubles: dict[str, Refused] = {}

    @property
    def told(self) -> tuple[Refused, ...]:
        """All that is refused now."""
        return (*(refusal.told for refusal in self._refusals.values()), *self._troubles.values())

    def follow(self, look: Look) -> None:
        """Forget what has changed since or is gone; note what cannot be taken as a model at all."""
        self._refusals = {key: refusal for key, refusal in self._refusals.items() if look.seen.get(key) == refusal.sight}
        self._troubles = {name: self._trouble(name, sentence) for name, sentence in look.troubles.items()}

    def bars(self, key: Key, room: int) -> bool:
        """Whether there is no point in trying that version again, with so many bytes free."""
        refusal = self._refusals.get(key)
        return refusal is not None and not refusal.passing and (refusal.needed is None or refusal.needed > room)

    def note(self, key: Key, sight: Sight, error: Exception) -> None:
        """It was tried and failed."""
        known = self._refusals.get(key)
        told = Refused(key[0], str(key[1]), self._within(str(error)), datetime.now(UTC), isinstance(error, NoRoom))
        if known is not None and known.told.why == told.why:
            told = replace(told, since=known.told.since)
        else:
            self._tell(told)
        passing = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        self._refusals[key] = _Refusal(told, sight, error.needed if isinstance(error, NoRoom) else None, passing)

    def lift(self, key: Key) -> None:
        """It is loaded now."""
        self._refusals.pop(key, None)

    def _trouble(self, name: str, sentence: str) -> Refused:
        known, why = self._troubles.get(name), self._within(sentence)
        if known is not None and known.why == why:
            return known
        told = Refused(name, None, why, datetime.now(UTC))
        self._tell(told)
        return told

    def _within(self, sentence: str) -> str:
        """Files by their path in the folder: where that lies is nothing for whoever asks for GET /models."""
        return sentence.replace(f"{self._folder}/", "")

    def _tell(self, told: Refused) -> None:
        self.count += 1
        facts: Mapping[str, str | None] = {"model": told.name, "version": told.version}
        logger.warning("model %s is refused: %s", told.name, told.why, extra={"facts": facts})
