"""DeviceTwin: what the devices of this node are and should be.

    MQTT, DMI ──► twin ──► merge ──► records (SQLite) ──► MQTT answers, the cloud, mappers
    Device objects ──────►

devicetwin (the doors) · work (objects) · desk (requests) · mappers, tell (DMI) · twin (what a message says, typed) ·
merge (the algebra, pure) · records (the tables)
"""
