"""A status page for people, and /metrics for Prometheus, of a coordinator or of a silo."""

import contextlib
import dataclasses
import html
import http.server
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tff_nlp import errors
from tff_nlp.deployment import service
from tff_nlp.deployment.plan import Plan

if TYPE_CHECKING:
    from tff_nlp.deployment import silo_context, silo_rounds

_REFRESH_SECONDS = 5
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border:1px solid #999;padding:.3rem .7rem;"
    "text-align:left}"
)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number, or one number for each silo.

    Attributes:
      name: Its name for Prometheus.
      help: What it counts.
      kind: "gauge" or "counter".
      values: The numbers by name of the silo; "" for a number without a silo.
    """

    name: str
    help: str
    kind: str
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Status:
    """What a page shows at one moment.

    Attributes:
      title: Heading of the page.
      lines: Sentences.
      table: Rows of a table, the head first; empty for none.
      metrics: The numbers.
    """

    title: str
    lines: Sequence[str]
    table: Sequence[Sequence[str]]
    metrics: Sequence[Metric]

    def page(self) -> str:
        """Returns the page, which loads itself again."""
        head, *rows = self.table or [[]]
        cells = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in head)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
        )
        table = f"<table><tr>{cells}</tr>{body}</table>" if head else ""
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.lines)
        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh "
            f'content={_REFRESH_SECONDS}><meta name=viewport content="width=device-width">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style>"
            f"<h1>{html.escape(self.title)}</h1>{lines}{table}"
            '<p><a href="/metrics">/metrics</a> has these numbers for Prometheus.</p></html>'
        )

    def prometheus(self) -> str:
        """Returns the numbers in Prometheus's text format."""
        lines = []
        for metric in self.metrics:
            lines += [
                f"# HELP {metric.name} {metric.help}",
                f"# TYPE {metric.name} {metric.kind}",
            ]
            for silo, value in metric.values.items():
                label = f'{{silo="{silo}"}}' if silo else ""
                lines.append(f"{metric.name}{label} {value:g}")
        return "\n".join(lines) + "\n"


def of_coordinator(
    plan: Plan, context: "silo_context.SiloContext", folder: pathlib.Path
) -> Callable[[], Status]:
    """Returns the function that describes a coordinator.

    Args:
      plan: The plan.
      context: Its context.
      folder: Its folder.
    """

    def describe() -> Status:
        present = context.attendance.present()
        waiting, number = context.service.waiting_for(), context.record.rounds
        traffic = {name: context.service.traffic.of(name) for name in plan.silos}
        rows = [
            [
                name,
                "there" if name in present else "away",
                "awaited" if name in waiting else "",
                str(context.record.last(name) or ""),
                f"{traffic[name].up / 1e6:,.2f}",
                f"{traffic[name].down / 1e6:,.2f}",
            ]
            for name in plan.silos
        ]
        return Status(
            title="Federation: coordinator",
            lines=[
                f"Round {number} of {plan.rounds} is finished, in {folder}.",
                f"{len(present)} of {len(plan.silos)} silos are there.",
            ],
            table=[["silo", "connection", "update", "last round", "MB up", "MB down"], *rows],
            metrics=[
                Metric(
                    "tff_nlp_rounds_finished", "Rounds with a sum.", "gauge", {"": float(number)}
                ),
                Metric("tff_nlp_rounds_planned", "Rounds of the plan.", "gauge", {"": plan.rounds}),
                Metric(
                    "tff_nlp_rounds_aborted",
                    "Attempts that ended without a sum.",
                    "counter",
                    {"": context.aborted},
                ),
                Metric(
                    "tff_nlp_silo_present",
                    "Whether a silo is there.",
                    "gauge",
                    {name: float(name in present) for name in plan.silos},
                ),
                Metric(
                    "tff_nlp_silo_last_round",
                    "Last round with an update of a silo.",
                    "gauge",
                    {name: context.record.last(name) for name in plan.silos},
                ),
                Metric(
                    "tff_nlp_bytes_up_total",
                    "Bytes from a silo, without framing.",
                    "counter",
                    {name: traffic[name].up for name in plan.silos},
                ),
                Metric(
                    "tff_nlp_bytes_down_total",
                    "Bytes to a silo, without framing.",
                    "counter",
                    {name: traffic[name].down for name in plan.silos},
                ),
            ],
        )

    return describe


def of_silo(plan: Plan, name: str, silo: "silo_rounds.Silo") -> Callable[[], Status]:
    """Returns the function that describes a silo.

    Args:
      plan: The plan.
      name: Name of the silo.
      silo: The silo.
    """

    def describe() -> Status:
        return Status(
            title=f"Federation: silo {name}",
            lines=[
                "The coordinator is reached." if silo.connected else "The coordinator is away.",
                f"Updates sent by this process: {silo.rounds}. Last round: {silo.last_round} of "
                f"{plan.rounds}.",
            ],
            table=[],
            metrics=[
                Metric(
                    "tff_nlp_connected",
                    "Whether the coordinator is reached.",
                    "gauge",
                    {"": float(silo.connected)},
                ),
                Metric(
                    "tff_nlp_updates_sent_total",
                    "Updates that this process sent.",
                    "counter",
                    {"": silo.rounds},
                ),
                Metric(
                    "tff_nlp_last_round",
                    "Last round with an update.",
                    "gauge",
                    {"": silo.last_round},
                ),
            ],
        )

    return describe


@contextlib.contextmanager
def served(address: str, describe: Callable[[], Status]) -> Iterator[int]:
    """Serves the page while the block runs, and yields the port.

    Args:
      address: "host:port" to listen on; port 0 takes a free one.
      describe: Returns what to show now.

    Raises:
      UserError: If the address cannot be used.
    """
    host, port = service.split_address(address, "status")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (the name is the library's)
            path = self.path.partition("?")[0]
            if path not in ("/", "/metrics"):
                self.send_error(404)
                return
            status = describe()
            text, kind = (
                (status.page(), "text/html")
                if path == "/"
                else (status.prometheus(), "text/plain; version=0.0.4")
            )
            content = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Writes nothing: each request would be a line."""

    try:
        server = http.server.ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise errors.UserError(
            f"{errors.setting('status', address)}: cannot be used ({error.strerror or error})"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
