"""Write ``assignment-vectors.json``: cases from which another service can tell that it assigns as Charter does.

Run as ``python docs/vectors.py``. A test holds the file against the code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charter.registry.allocation import BUCKETS, Allocation, bucket
from charter.registry.assignment import Assignment, Slot

UNITS = (
    "customer-1", "customer-2", "17850", "a", "A", "0", "00", " ", "user@example.org", "Zoë Muñoz", "東京", "🙂",
    "00000000-0000-0000-0000-000000000000", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "x" * 256,
)  # fmt: skip
SALTS = ("checkout-2026", "checkout-2027", "s", "pricing/eu.v2")


def vectors() -> dict[str, Any]:
    """Buckets of units, and whole assignments with every reason for having no arm."""
    ramped = Allocation.of({"new": 0.05, "old": 0.95}).with_shares({"new": 0.2, "old": 0.8})
    plain = Assignment("checkout-2026", Allocation.of({"control": 0.9, "treatment": 0.1}))
    full = Assignment(
        "pricing/eu.v2",
        Allocation.of({"control": 0.4, "low": 0.3, "high": 0.2}),
        strata={"EU": Allocation.of({"control": 1.0})},
        excluded=frozenset({"customer-1"}),
        holdout=Slot("holdout-2026", 0, 150_000),
        layer=Slot("layer-prices", 0, 600_000),
    )
    rules = {"plain": plain, "ramped": Assignment("checkout-2026", ramped), "full": full}
    strata = (None, "EU", "US")
    numbered = [f"unit-{n}" for n in range(40)]
    return {
        "rule": f"floor(u * {BUCKETS} / 2**32), u = first 4 bytes, big-endian, of SHA-256(UTF-8('<salt>:<unit>'))",
        "buckets": [[salt, unit, bucket(salt, unit)] for salt in SALTS for unit in UNITS],
        "assignments": [
            {
                "name": name,
                "assignment": rule.to_json(),
                "cases": [
                    [unit, stratum, *rule.assign(unit, stratum)]
                    for unit in ((*UNITS, *numbered) if rule.strata else UNITS)
                    for stratum in (strata if rule.strata else (None,))
                ],
            }
            for name, rule in rules.items()
        ],
    }


if __name__ == "__main__":
    target = Path(__file__).parent / "assignment-vectors.json"
    target.write_text(json.dumps(vectors(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
