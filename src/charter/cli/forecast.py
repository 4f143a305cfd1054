"""Commands of forecasts: what is ahead, what if, orders, tracking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charter.cli.output import JSON, elsewhere, emit, say, table, unread
from charter.core.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from charter.flow.outlook import Outlook
    from charter.flow.whatif import Answer

_SPEC = typer.Option(Path(), "--in", help="The model's folder.")
_MODEL = typer.Option(None, "--model", help="NAME@champion (what is released) or NAME@v3.")
_SOURCE = typer.Option(
    None,
    "--ahead",
    help="A .parquet or .csv file with what is known ahead: a row for each series and period.",
)
_OUT = typer.Option(None, "--out", callback=elsewhere, help="Write all rows to a .parquet or .csv file.")
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    forecast = typer.Typer(
        help="Ask a released forecast: what is ahead, what if, how much to order, how good it was.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    forecast.callback()(ahead)
    forecast.command()(order)
    forecast.command()(track)
    forecast.command()(report)
    forecast.command()(elasticity)
    app.add_typer(forecast, name="forecast")


def ahead(
    ctx: typer.Context,
    source: Path | None = _SOURCE,
    sets: list[str] = typer.Option(
        [], "--set", help="What would be: 'price of brand 3 = 1.99 in weeks 2..3', 'deal = 1'."
    ),
    where: str | None = typer.Option(None, "--where", help="Answer for these rows only: \"brand = '3'\"."),
    by: list[str] = typer.Option([], "--by", help="Sum the difference by a column, too."),
    out: Path | None = _OUT,
    model: str | None = _MODEL,
    spec: Path = _SPEC,
    as_json: bool = JSON,
) -> None:
    """Forecast what is ahead at every level; with --set also what would be, and the difference."""
    if ctx.invoked_subcommand is not None:
        return
    from charter.flow.outlook import levels_of, rows_ahead
    from charter.flow.whatif import what_if

    unread(out, source)
    outlook = _open(spec, model)
    inputs, replayed = rows_ahead(outlook, source)
    answer = what_if(outlook, inputs, sets, replayed=replayed, where=where, by=by)
    levels = levels_of(outlook, answer.after)
    if out is not None:
        _write(levels if not sets else _both(answer, levels), out)
    if as_json:
        emit(_document(outlook, answer, levels, sets))
        return
    _tell(outlook, answer, levels, sets)
    if out is not None:
        say(f"  {out}")


def order(
    source: Path | None = _SOURCE,
    stock: Path | None = typer.Option(
        None, "--stock", help="A .parquet or .csv file: the series' columns, on_hand, on_order."
    ),
    out: Path | None = _OUT,
    model: str | None = _MODEL,
    spec: Path = _SPEC,
    as_json: bool = JSON,
) -> None:
    """Say how much of each series to order now, and how likely it runs out all the same."""
    from charter.flow.decide import stock_costs
    from charter.flow.outlook import forecast, orders, read_stock, rows_ahead

    unread(out, source, stock)
    outlook = _open(spec, model)
    inputs, replayed = rows_ahead(outlook, source)
    frame = forecast(outlook, inputs)
    held, notes = read_stock(outlook, frame, stock) if stock is not None else (None, [])
    found = orders(outlook, frame, held)
    costs = stock_costs(outlook.spec)
    assert costs is not None
    if out is not None:
        _write(found, out)
    if as_json:
        emit({"model": outlook.name, "version": outlook.version, "replayed": replayed,
              "service_level": costs.service_level, "periods": costs.periods, "warnings": notes,
              "orders": found.to_dicts()})  # fmt: skip
        return
    _headline(outlook, frame, replayed)
    every, currency = outlook.plan.every, outlook.spec.inventory.currency if outlook.spec.inventory else ""
    say(
        f"  an order lasts {costs.periods} {every}s; the service level that pays best is {costs.service_level:.1%} "
        f"(a unit short costs {costs.short:g} {currency}, one over {costs.over:g})"
        + (", less where stock would spoil" if costs.perishable else "")
    )
    columns = [*outlook.plan.keys, "expected", "order_up_to", "on_hand", "on_order", "order", "stockout_risk"]
    rows = [
        (*(str(row[k]) for k in outlook.plan.keys), *(_number(row[c]) for c in columns[len(outlook.plan.keys) : -1]),
         "" if row["stockout_risk"] is None else f"{row['stockout_risk']:.1%}")
        for row in found.head(_SHOWN).iter_rows(named=True)
    ]  # fmt: skip
    table(
        rows, head=[c.replace("_", " ") for c in columns], right=range(len(outlook.plan.keys), len(columns))
    )
    if found.height > _SHOWN:
        say(f"  and {found.height - _SHOWN:,} more series{'' if out else '; --out writes all'}")
    for note in notes:
        say(f"  ! {note}")
    others = found.filter(found["rests_on"] != "its own past")["rests_on"]
    for basis, n in others.value_counts(sort=True).iter_rows():
        say(
            f"  ! {'the order' if n == 1 else 'orders'} of {n:,} series rest{'s' if n == 1 else ''} on {basis}"
        )
    if out is not None:
        say(f"  {out}")


def track(
    written: list[Path] = typer.Argument(..., help="What earlier runs of charter forecast or score wrote."),
    actual: Path | None = typer.Option(
        None, "--actual", help="A .parquet or .csv file with what came; default: the released source."
    ),
    model: str | None = _MODEL,
    spec: Path = _SPEC,
    as_json: bool = JSON,
) -> None:
    """Hold earlier forecasts against what came: error by step, and series to look at; exit code 1 when there are."""
    from charter.flow.track import tracked

    found = tracked(_open(spec, model), written, actual)
    if as_json:
        emit(found.to_json())
    else:
        say(f"{found.rows:,} forecasts of {found.origins} origins have met their actual value")
        rows = [
            (
                str(r["step"]),
                f"{r['rows']:,}",
                _share(r["wmape"]),
                _share(r["bias"], sign=True),
                _share(r["coverage"]),
            )
            for r in found.by_step.iter_rows(named=True)
        ]
        table(
            rows,
            head=("step", "rows", "wmape", "bias", f"inside (promised {found.share:.0%})"),
            right=range(5),
        )
        say(f"  {found.exceptions.height:,} exceptions")
        table(
            [
                (r["series"], r["kind"], r["text"])
                for r in found.exceptions.head(_SHOWN).iter_rows(named=True)
            ],
            indent=4,
        )
        if found.exceptions.height > _SHOWN:
            say(f"    and {found.exceptions.height - _SHOWN:,} more; --json lists all")
    if found.exceptions.height:
        raise typer.Exit(1)


def report(model: str | None = _MODEL, spec: Path = _SPEC, as_json: bool = JSON) -> None:
    """Say how good sums and orders were on the test origins, when the version was judged."""
    outlook = _open(spec, model)
    found, notes = outlook.decisions.get("measured") or {}, outlook.decisions.get("notes") or []
    if as_json:
        emit({"model": outlook.name, "version": outlook.version, **found, "notes": notes})
        return
    say(f"{outlook.name} {outlook.version}, on the test origins")
    if found.get("levels"):
        rows = [
            (r["level"], f"{r['rows']:,}", _share(r["wmape"]), _share(r["wmape_bottom_up"]),
             _share(r["bias"], sign=True), _share(r["coverage"]))
            for r in found["levels"]
        ]  # fmt: skip
        method = outlook.decisions["levels"]["method"]
        inside = f"inside (promised {outlook.spec.train.interval:.0%})"
        table(
            rows,
            head=("level", "rows", f"wmape {method}", "of plain sums", "bias", inside),
            right=range(1, 6),
        )
        say(f"  sums of two levels differ by at most {found['incoherence']:.0e} of the sum")
    if found.get("inventory"):
        _tell_stock(found["inventory"], outlook)
    for note in notes:
        say(f"  ! {note}")
    if not found and not notes:
        say("  neither evaluate.hierarchy nor inventory is declared")


def _tell_stock(found: dict[str, Any], outlook: Outlook) -> None:
    currency = outlook.spec.inventory.currency if outlook.spec.inventory else ""
    say(f"  stock simulated over {found['periods']} {outlook.plan.every}s, {found['series']:,} series, service level "
        f"{found['service_level']:.1%}")  # fmt: skip
    names = ("in_stock", "fill_rate", "average_stock", "lost", "markdown", "value")
    rows = []
    for words, policy in (
        ("by the forecast", found["forecast"]),
        ("by the moving average", found["moving_average"]),
    ):
        shares = [_share(policy[name]) for name in names[:2]]
        rows.append((words, *shares, *(_number(policy[name]) for name in names[2:])))
    head = ("ordered", *(name.replace("_", " ") for name in names[:-1]), f"value, {currency}")
    table(rows, head=head, right=range(1, 7))
    gain = found["gain"]
    span = "" if gain["low"] is None else f" {_span(gain['low'], gain['high'])}"
    say(f"  gain {gain['value']:+,.0f}{span} {currency}{' ' + gain['note'] if gain['note'] else ''}")


def elasticity(
    price: str = typer.Option(..., "--price", help="Column of the price."),
    by: str = typer.Option(..., "--by", help="Column of the series: one elasticity for each of its values."),
    cluster: str | None = typer.Option(None, "--cluster", help="Column whose rows are not independent."),
    control: list[str] = typer.Option([], "--control", help="A promotion that moves demand as well."),
    ask_model: bool = typer.Option(False, "--ask-model", help="Ask the model, too: prices 10 % up and down."),
    model: str | None = _MODEL,
    spec: Path = _SPEC,
    as_json: bool = JSON,
) -> None:
    """Estimate price elasticities, by regression on the released history."""
    from dataclasses import asdict

    from charter.flow.whatif import price_elasticities

    outlook = _open(spec, model)
    found = price_elasticities(
        outlook, price=price, by=by, cluster=cluster, controls=control, model=ask_model
    )
    if as_json:
        emit([asdict(e) for e in found])
        return
    asked = ("model",) if ask_model else ()
    rows = [
        (
            e.group,
            _decimal(e.value),
            _decimal(e.error),
            "" if e.low is None else f"[{e.low:.2f}, {e.high:.2f}]",
            *(_decimal(e.model) for _ in asked),
            f"{e.rows:,}",
            e.note,
        )
        for e in found
    ]
    share = f"{outlook.spec.evaluate.confidence:.0%} interval"
    head = (by, "elasticity", "error", share, *asked, "rows", "")
    table(rows, head=head, right=range(1, len(head) - 1))
    say(
        "  causal only where prices were not set in answer to demand; the error of an estimate says nothing of that"
    )


# -------------------------------------------------------------------------------------------------------- output
def _open(spec: Path, model: str | None) -> Outlook:
    from charter.flow.outlook import open_outlook
    from charter.flow.score_request import which_version
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    return open_outlook(workspace, loaded, which_version(model, loaded.spec.name))


def _write(frame: pl.DataFrame, out: Path) -> None:
    from charter.core.io.files import write_atomic

    if out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out {out}: name a .parquet or a .csv file")
    import io

    buffer = io.BytesIO()
    if out.suffix == ".parquet":
        frame.write_parquet(buffer)
    else:
        frame.write_csv(buffer)
    write_atomic(out, buffer.getvalue())


def _both(answer: Answer, levels: pl.DataFrame) -> pl.DataFrame:
    """What would be, at every level, and beside each series what is."""
    before = answer.before.select("series", "as_of", "step", forecast_before="forecast").rename(
        {"series": "node"}
    )
    return levels.join(before, on=["node", "as_of", "step"], how="left", maintain_order="left")


def _headline(outlook: Outlook, frame: pl.DataFrame, replayed: bool) -> None:
    origin = str(frame["as_of"][0]).removesuffix(" 00:00:00")
    series, steps = frame["series"].n_unique(), frame["step"].n_unique()
    say(f"{outlook.name} {outlook.version}: {series:,} series, {steps} {outlook.plan.every}s from {origin}")
    if replayed:
        say(
            "  nothing is known ahead of the last period (--ahead), so the last known periods are forecast once more"
        )


def _tell(outlook: Outlook, answer: Answer, levels: pl.DataFrame, sets: list[str]) -> None:
    import polars as pl

    _headline(outlook, answer.after, answer.replayed)
    if not sets:
        total = levels.filter(pl.col("level") == "total")
        sums = [
            (str(r["target"])[:10], *(_number(r[c]) for c in ("forecast", "lower", "upper")))
            for r in total.iter_rows(named=True)
        ]
        table(sums, head=(outlook.plan.every, "forecast", "lower", "upper"), right=range(1, 4))
        counts = levels.group_by("level", maintain_order=True).agg(pl.col("node").n_unique())
        say("  levels: " + ", ".join(f"{level} ({n:,})" for level, n in counts.iter_rows()))
    else:
        head = ("", "as it is", "as it would be", "difference", f"{answer.share:.0%} interval", "series")
        rows = [
            (
                e.name,
                _number(e.before),
                _number(e.after),
                f"{e.difference:+,.0f}",
                _span(e.low, e.high),
                f"{e.series:,}",
            )
            for e in answer.effects
        ]
        table(rows, head=head, right=range(1, 6))
    for text in answer.warnings:
        say(f"  ! {text}")


def _document(outlook: Outlook, answer: Answer, levels: pl.DataFrame, sets: list[str]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "model": outlook.name,
        "version": outlook.version,
        "origin": answer.origin,
        "replayed": answer.replayed,
        "set": sets,
        "share": answer.share,
        "effects": [asdict(e) | {"difference": e.difference} for e in answer.effects],
        "warnings": list(answer.warnings),
        "forecast": [
            row | {"as_of": str(row["as_of"]), "target": str(row["target"])} for row in levels.to_dicts()
        ],
    }


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:,.0f}"


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _span(low: float, high: float) -> str:
    return f"[{low:+,.0f}, {high:+,.0f}]"


def _share(value: float | None, *, sign: bool = False) -> str:
    return "" if value is None else f"{value:+.1%}" if sign else f"{value:.1%}"
