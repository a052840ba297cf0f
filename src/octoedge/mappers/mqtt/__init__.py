"""Devices that speak MQTT themselves: `link` (their topics at a broker) · `simulator` (a valve)."""
