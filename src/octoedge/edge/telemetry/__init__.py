"""Telemetry, the edge's part: values of device properties get numbers, wait on disk, and go up in batches.

    devicetwin ──keep──► outbox (telemetry.db) ──batches──► the cloud's store ──its answer──► outbox: forget

A node none of whose Devices asks for it (annotation `octoedge.io/telemetry`) imports and opens nothing of this.
"""
