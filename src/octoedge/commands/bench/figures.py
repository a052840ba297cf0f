"""What is measured, in which unit, how the Go system does, and what we aim at.

References: KubeEdge v1.23.1 on Kubernetes 1.32 with containerd 1.6 on a machine of two shared cores.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    key: str
    text: str
    unit: str
    reference: float | None
    aim: float | None
    """None for what is only reported."""


FIGURES: tuple[Figure, ...] = (
    Figure("agent_rss_0", "agent memory, 0 pods, after a warm restart: RSS", "MiB", 86.5, 34),
    Figure("agent_private_0", "… private", "MiB", 22.1, 18),
    Figure("agent_rss_10", "agent memory, 10 pods: RSS", "MiB", 96.7, 37),
    Figure("agent_private_10", "… private", "MiB", 31.0, 21),
    Figure("agent_rss_100", "agent memory, 100 pods, after a restart: RSS", "MiB", None, 45),
    Figure("agent_private_100", "… private", "MiB", None, None),
    Figure("agent_cpu_0", "agent idle CPU, 0 pods", "CPU s/min", 0.38, 0.12),
    Figure("agent_cpu_10", "agent idle CPU, 10 pods", "CPU s/min", 0.63, 0.2),
    Figure("agent_cpu_100", "agent idle CPU, 100 pods", "% of a core", None, 0.5),
    Figure("idle_traffic", "bytes of an idle node a day, both ways", "MB", 22, 2),
    Figure("first_start_ready", "first start → Ready", "s", 0.740, 0.7),
    Figure("restart_ready", "restart → Ready", "s", 10.6, 0.5),
    Figure("offline_restart", "offline, containers gone: restart → a pod serves its token", "s", None, 0.8),
    Figure("apply_ready", "apply → Ready in the API", "s", 0.995, 0.5),
    Figure("apply_ready_own", "… without the runtime's own time", "s", None, 0.03),
    Figure("crowd_apply", "100 pods: created one after the other → all Ready", "s", None, None),
    Figure("crowd_at_once", "… all at once → all Ready", "s", None, None),
    Figure("crowd_own", "… time added to the runtime's own, for each pod", "ms", None, 30),
    Figure("crowd_gone", "… all deleted at once → all gone", "s", None, None),
    Figure("crowd_restart", "… edgecore starts → it has carried out what came meanwhile", "s", None, None),
    Figure("configmap_volume", "ConfigMap change → in the mounted volume", "s", 73, 1),
    Figure("configmap_busy", "… while four streams run flat out", "s", None, 0.1),
    Figure("exec_round_trip", "kubectl exec POD -- true, whole process", "s", 0.095, 0.08),
    Figure("exec_own", "… without kubectl's own time", "s", 0.051, None),
    Figure("logs_throughput", "kubectl logs throughput", "MB/s", 14.7, 100),
    Figure("logs_cpu", "… CPU time of our processes", "CPU s/GB", None, None),
    Figure("exec_throughput", "exec and cp throughput, out of a container", "MB/s", None, 100),
    Figure("exec_cpu", "… CPU time of our processes", "CPU s/GB", None, None),
    Figure("forward_throughput", "port-forward throughput", "MB/s", None, 100),
    Figure("forward_cpu", "… CPU time of our processes", "CPU s/GB", None, None),
    Figure("forward_requests", "… requests, each on a connection of its own", "1/s", None, None),
    Figure("idle_stream", "… memory for each idle connection, our three processes together", "KiB", None, None),
    Figure("apiserver_rss", "embedded API server memory, RSS", "MiB", 279, 100),
    Figure("apiserver_start", "embedded API server, started → ready", "s", 8, 1.5),
    Figure("plane_rss_0", "control plane alone: memory with 0 pods, RSS", "MiB", 510, 100),
    Figure("plane_rss_1000", "… 1,000 pods", "MiB", None, 100),
    Figure("plane_rss_10000", "… 10,000 pods", "MiB", None, None),
    Figure("plane_create", "… pods created (16 writers, each on disk before the answer)", "1/s", None, None),
    Figure("plane_get", "… pods read", "1/s", None, None),
    Figure("plane_patch", "… statuses patched", "1/s", None, None),
    Figure("plane_list", "… lists of 50 pods out of 1,000 by field", "1/s", None, None),
    Figure("list_5000", "… one list of 5,000 pods", "s", None, 0.2),
    Figure("list_5000_throughput", "… that is", "MB/s", None, None),
    Figure("list_5000_floor", "… as a multiple of TLS alone carrying the same bytes", "×", None, 2),
    Figure("fanout_p50", "… one event to 500 watchers: half of them have it after", "s", None, 0.012),
    Figure("fanout_p99", "… 99 of 100 have it after", "s", None, 0.025),
    Figure("fanout_rate", "… many events to 500 watchers, delivered", "1/s", None, 50_000),
    Figure("plane_start_10000", "… started → ready with 10,000 pods", "s", None, 1.5),
    Figure("fleet_node_memory", "1,000 nodes: cloudcore's memory for each connected node", "KiB", None, 80),
    Figure("fleet_one_object", "… one object changed → acknowledged by all", "s", None, 1),
    Figure("fleet_messages", "… messages a second per core of cloudcore", "1/s", None, 20_000),
    Figure("fleet_storm", "… cloudcore killed and started → all have reported Ready", "s", None, 10),
    Figure("fleet_storm_writes", "… changes of the API for each node meanwhile", "", None, 3),
    Figure("fault_silent", "link good again → a new pod Ready: after 30 s without a packet", "s", None, 10),
    Figure("fault_silent_long", "… after 75 s without a packet", "s", None, 10),
    Figure("fault_loss", "… after 30 s of 30 % loss", "s", None, 10),
    Figure("fault_slow", "… after 30 s of a round trip of 2 s", "s", None, 10),
    Figure("fault_jitter", "… after 30 s of 0 to 600 ms, packets overtaking each other", "s", None, 10),
    Figure("fault_moved", "… after a change of the node's address", "s", None, 10),
    Figure("messages", "messages while everything is killed at random: on nodes' disks", "", None, None),
    Figure("messages_rate", "… a second", "1/s", None, None),
    Figure("messages_kills", "… kills (-9) of API server, CloudCore and nodes", "", None, None),
    Figure("messages_lost", "… lost: confirmed and not on disk, or not there at the end", "", None, 0),
    Figure("messages_doubled", "… doubled: took effect twice", "", None, 0),
    Figure("messages_backwards", "… took an object back to an older version", "", None, 0),
    Figure("devices_add", "devices: memory that DeviceTwin and EventBus add to the agent, private", "MiB", None, 0.5),
    Figure("devices_add_bus", "… EventBus alone", "MiB", None, 0.5),
    Figure("devices_add_one", "… the first device and its first value add", "MiB", None, 2),
    Figure("devices_add_mapper", "… a mapper (DMI) that is told a hundred wishes adds", "MiB", None, 1),
    Figure("mqtt_result", "… a value of an MQTT client → stored and answered", "ms", None, 20),
    Figure("mqtt_api", "… → in DeviceStatus in the API, seen by a watch", "ms", None, 10),
    Figure("wish_device", "… a wish in the Device in the API → its mapper is told (DMI)", "ms", None, 10),
    Figure("mqtt_rate", "… values through MQTT, each on disk before its answer", "1/s", None, 1000),
    Figure("dmi_rate", "… values through DMI, the same", "1/s", None, 1000),
    Figure("cloud_rate", "… 1,000 devices report at once → in the API, devices", "1/s", None, 500),
    Figure("devices_1000_private", "… agent memory with 1,000 devices, private, after a restart", "MiB", None, None),
    Figure("devices_1000_cpu", "… idle CPU with 1,000 devices", "CPU s/min", None, 0.3),
    Figure("telemetry_rate", "telemetry: values into the cloud's store, per core, batches of 60", "1/s", None, 100_000),
    Figure("telemetry_wire", "… on the wire, a value", "bytes", None, 2),
    Figure("telemetry_stored", "… in the store, a value", "bytes", None, 2),
    Figure("telemetry_query", "… a day at a value a second is read", "s", None, 0.1),
    Figure("mapper_modbus", "mappers: values from Modbus TCP to EdgeCore's door, by one core", "1/s", None, 1000),
    Figure("mapper_http", "… HTTP", "1/s", None, 1000),
    Figure("mapper_opcua", "… OPC UA", "1/s", None, 1000),
    Figure("mapper_mqtt", "… MQTT", "1/s", None, 1000),
    Figure("mapper_ble", "… Bluetooth LE, without a radio", "1/s", None, 1000),
    Figure("mapper_virtual", "… none: what the framework alone takes", "1/s", None, None),
    Figure("mapper_memory_rss", "… memory of a Modbus mapper with 1,000 points, RSS", "MiB", None, 40),
    Figure("mapper_memory_private", "… the same, private", "MiB", None, 25),
    Figure("metaserver_idle", "MetaServer adds, idle, private", "MiB", None, 2),
    Figure("metaserver_watches", "… with 50 watches of different things", "MiB", None, 6),
    Figure("metaserver_after", "… 1,000 watches opened and dropped: stays with the allocator, once", "MiB", None, None),
    Figure("metaserver_again", "… 1,000 more opened and dropped: more than that", "MiB", None, 0.5),
    Figure("metaserver_get", "… get, through the cloud", "ms", None, 10),
    Figure("metaserver_list", "… list, through the cloud", "ms", None, 10),
    Figure("metaserver_events", "… changes seen by a watch", "1/s", None, 100),
    Figure("cloudcore_rss", "cloudcore memory, 1 node, RSS", "MiB", 80, 80),
)
LARGER_IS_BETTER = frozenset(
    {
        "logs_throughput",
        "exec_throughput",
        "forward_throughput",
        "fanout_rate",
        "fleet_messages",
        "mqtt_rate",
        "dmi_rate",
        "mapper_modbus",
        "mapper_http",
        "mapper_opcua",
        "mapper_mqtt",
        "mapper_ble",
        "mapper_virtual",
        "metaserver_events",
        "cloud_rate",
        "telemetry_rate",
    }
)
