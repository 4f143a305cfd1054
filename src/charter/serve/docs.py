"""The server's documentation as one HTML page that fetches nothing."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape

from charter.serve.decode import example
from charter.serve.served import Served
from charter.serve.types import Input

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
code, pre, textarea { font: .85rem/1.4 ui-monospace, monospace; }
pre, textarea { background: #8881; padding: .8rem; border: 1px solid #8884; border-radius: .3rem; overflow: auto; }
textarea { width: 100%; box-sizing: border-box; min-height: 10rem; color: inherit; }
"""

_SCRIPT = """
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const out = form.querySelector("output pre");
    const path = form.dataset.path + (form.querySelector("input").checked ? "?explain=true" : "");
    try {
      const answer = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"},
        body: form.querySelector("textarea").value});
      out.textContent = answer.status + "\\n" + JSON.stringify(await answer.json(), null, 2);
    } catch (error) { out.textContent = String(error); }
  });
}
"""


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


CONTENT_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_hash(_STYLE)}'; script-src 'sha256-{_hash(_SCRIPT)}'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page runs its own script and talks to its own server; the browser holds it to that."""


def docs_page(models: Sequence[Served]) -> str:
    """Render fields, limits and an example that can be sent from the page."""
    parts = [_model(m) for m in models] or ["<p>No model is served.</p>"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Charter predictions</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        "<h1>Predictions</h1><p>Send an object or a list of objects. "
        "<code>/openapi.json</code> holds the same as a machine reads it; <code>/metrics</code>, <code>/healthz</code> "
        "and <code>/readyz</code> are for operators.</p>"
        f"{''.join(parts)}<script>{_SCRIPT}</script></body></html>"
    )


def _model(model: Served) -> str:
    path = f"/api/v1/predict/{model.name}"
    body = json.dumps(example(model.scorer.signature), indent=1, ensure_ascii=False)
    rows = "".join(_row(i) for i in model.scorer.signature.inputs)
    return (
        f"<h2>{escape(model.name)} {escape(model.version)}</h2><p><code>POST {escape(path)}</code></p>"
        f"<table><thead><tr><th>Field</th><th>Type</th><th>Allowed</th><th>Seen in training</th><th>Meaning</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
        f'<form data-path="{escape(path, quote=True)}"><p><label>Request<br>'
        f"<textarea>{escape(body)}</textarea></label></p>"
        "<p><label><input type=checkbox> with reasons</label> <button>Send</button></p>"
        "<output><pre></pre></output></form>"
    )


def _row(field: Input) -> str:
    allowed = [", ".join(field.values)] if field.values else []
    allowed += [f"&ge; {field.min}"] if field.min is not None else []
    allowed += [f"&le; {field.max}"] if field.max is not None else []
    allowed += ["may be missing"] if field.nullable else []
    seen = "" if field.seen_min is None else f"{field.seen_min} to {field.seen_max}"
    if field.seen_values is not None:
        seen = ", ".join(field.seen_values[:12]) + (", ..." if len(field.seen_values) > 12 else "")
    meaning = " ".join(s for s in (field.description, field.unit and f"({field.unit})") if s)
    limits = "; ".join(a if a.startswith("&") else escape(a) for a in allowed)
    return (
        f"<tr><td><code>{escape(field.name)}</code></td><td>{field.type}</td><td>{limits}</td>"
        f"<td>{escape(seen)}</td><td>{escape(meaning)}</td></tr>"
    )
