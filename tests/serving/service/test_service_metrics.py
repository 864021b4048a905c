"""Metrics: their sums over workers, and their text as Prometheus reads it."""

import os

import pytest

from tff_nlp.serving.service import service_metrics
from tff_nlp.serving.service.service_metrics import ServiceMetrics


def sample(text):
    """Returns the value of each sample by its name and labels."""
    parser = pytest.importorskip("prometheus_client.parser", reason="an extra of tests")
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in parser.text_string_to_metric_families(text)
        for one in family.samples
    }


def test_prometheus_reads_the_sums_over_workers():
    metrics = ServiceMetrics(2)
    first, second = metrics.of_worker(0), metrics.of_worker(1)
    for worker in (first, second, second):  # The second one was replaced.
        worker.started()
    first.ready(True)
    first.answered(service_metrics.PREDICT, 200, 0.004)
    second.answered(service_metrics.PREDICT, 200, 3.0)
    second.answered(service_metrics.PREDICT, 418, 99.0)
    second.answered(service_metrics.PAGES, 200, 0.001)
    first.waiting(40)
    first.waiting(-32)
    first.labelled(32)
    second.labelled(1)
    got = sample(metrics.text())
    requests = "tff_nlp_requests_total"
    assert got[requests, ("code", "200"), ("endpoint", "predict")] == 2
    assert got[requests, ("code", "other"), ("endpoint", "predict")] == 1
    assert got[requests, ("code", "200"), ("endpoint", "pages")] == 1
    seconds = "tff_nlp_request_seconds"
    buckets = {"0.0025": 0, "0.005": 1, "2.5": 1, "5.0": 2, "10.0": 2, "+Inf": 3}
    for bound, count in buckets.items():
        assert got[f"{seconds}_bucket", ("le", bound)] == count
    assert got[f"{seconds}_sum",] == pytest.approx(102.004)
    assert got[f"{seconds}_count",] == 3
    assert got["tff_nlp_batch_texts_bucket", ("le", "16")] == 1
    assert got["tff_nlp_batch_texts_sum",] == got["tff_nlp_texts_total",] == 33
    assert got["tff_nlp_queue_texts",] == 8
    assert got["tff_nlp_workers_ready",] == 1
    assert got["tff_nlp_worker_starts_total",] == 3


def test_a_forked_worker_counts_for_all():
    metrics = ServiceMetrics(2)
    pid = os.fork()
    if not pid:
        metrics.of_worker(1).labelled(5)
        os._exit(0)
    os.waitpid(pid, 0)
    assert metrics.total(("texts", "")) == 5
