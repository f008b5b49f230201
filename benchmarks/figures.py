"""What a benchmark hands back: figures, each with its target where there is one, and the details behind them."""

from __future__ import annotations

from dataclasses import dataclass, field

Json = dict[str, object]


@dataclass(frozen=True)
class Figure:
    """One number. `most` or `least` is its target; a figure without one is for the reader."""

    name: str
    world: str | None
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool | None:
        if self.most is not None:
            return self.value <= self.most
        if self.least is not None:
            return self.value >= self.least
        return None

    def to_json(self) -> Json:
        target = None
        if self.most is not None:
            target = {"at_most": self.most}
        elif self.least is not None:
            target = {"at_least": self.least}
        return {
            "name": self.name,
            "world": self.world,
            "value": shortened(self.value),
            "unit": self.unit,
            "target": target,
            "met": self.met,
        }


@dataclass(frozen=True)
class Report:
    figures: list[Figure]
    details: Json = field(default_factory=Json)

    def to_json(self) -> Json:
        return {"figures": [figure.to_json() for figure in self.figures], "details": self.details}


def shortened(value: float) -> float:
    """Four digits say more than the measurement knows; whole numbers stay whole."""
    return value if isinstance(value, int) else float(f"{value:.4g}")
