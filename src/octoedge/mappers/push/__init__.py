"""What a Device's `pushMethod` asks for: the mapper itself sends a property's values to a server, past EdgeCore.

    settings   what the Device says, as typed targets, or a sentence with the field's path (pure)
    outgoing   one device: which collected values are to be pushed, and which go to EdgeCore (pure)
    hub        all devices: an outlet for each server, with a bounded queue, back-off and counters
    sending    what an outlet and the methods say to each other
    http, mqtt, otel, influxdb2, redis, tdengine, mysql     one method each; imported when a Device asks for it

A mapper none of whose Devices has a `pushMethod` imports nothing of this.
"""
