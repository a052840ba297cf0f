"""EventBus: MQTT on this node, between its clients and DeviceTwin.

eventbus (the module: one session per broker) · settings (the configuration, made into brokers)
"""
