"""Prometheus metrics of the service. docs/service.md has the same table."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from detector.boxes.detections import Detections
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)
STAGES = ("queue", "decode", "prepare", "network", "select", "draw")


class ServiceMetrics:
    """The metrics of one application, in a Prometheus registry of their own."""

    def __init__(self, models: Registry) -> None:
        self.collector_registry = registry = CollectorRegistry()
        self.requests = Counter("boxwright_requests", "Requests answered.", ["route", "method", "status"], registry=registry)
        self.request_seconds = Histogram(
            "boxwright_request_seconds",
            "Time from the head of a request to the start of its response.",
            ["route"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.requests_in_flight = Gauge("boxwright_requests_in_flight", "Requests that are being processed.", registry=registry)
        self.stage_seconds = Histogram(
            "boxwright_stage_seconds", "Time that images spend in each stage.", ["stage"], buckets=SECONDS_BUCKETS, registry=registry
        )
        self.batch_size = Histogram("boxwright_batch_size", "Images per call of the network.", buckets=BATCH_BUCKETS, registry=registry)
        self.rejected = Counter("boxwright_rejected", "Requests refused because a limit was reached.", ["reason"], registry=registry)
        self.deadline_missed = Counter(
            "boxwright_deadline_missed", "Images that missed their deadline. Large images count as rejected instead.", registry=registry
        )
        self.disconnected = Counter("boxwright_disconnected", "Requests whose client disconnected.", registry=registry)
        self.slow_bodies = Counter("boxwright_slow_bodies", "Requests whose body took too long to arrive.", registry=registry)
        self.detections = Counter("boxwright_detections", "Objects detected.", ["model", "label"], registry=registry)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for reason in ("queue", "memory"):
            self.rejected.labels(reason)
        registry.register(_ModelCollector(models))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def add_gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge. `read` returns its value at every scrape."""
        Gauge(name, description, registry=self.collector_registry).set_function(read)

    def record_result(self, model: LoadedModel, detections: Detections, stages: Mapping[str, float]) -> None:
        """Count the detections in one image and the seconds of each stage."""
        for name, seconds in stages.items():
            self.stage_seconds.labels(name).observe(seconds)
        labels = model.detector.spec.labels
        for detection in detections:
            self.detections.labels(model.name, labels[detection.class_id]).inc()


class _ModelCollector(Collector):
    """Reads the metrics of the models from the registry of models."""

    def __init__(self, models: Registry) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        names = ["model", "version", "engine", "input_size", "labels", "parameters"]
        info = GaugeMetricFamily("boxwright_model_info", "A loaded version, described by its labels; always 1.", labels=names)
        memory = GaugeMetricFamily("boxwright_model_bytes", "Estimated memory of a loaded version.", labels=names[:2])
        for model in self._models.loaded:
            spec = model.detector.spec
            facts = [model.engine, str(spec.input_size), str(len(spec.labels)), str(model.parameters)]
            info.add_metric([model.name, model.version, *facts], 1)
            memory.add_metric([model.name, model.version], model.memory)
        yield info
        yield memory
        yield CounterMetricFamily("boxwright_model_loads", "Versions loaded from the model folder.", self._models.load_count)
        yield CounterMetricFamily(
            "boxwright_model_refusals", "Versions refused. Repeated refusals for the same reason count once.", self._models.rejection_count
        )
        yield GaugeMetricFamily("boxwright_models_refused", "Versions that are refused now; see GET /models.", len(self._models.rejected))
