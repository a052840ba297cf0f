"""EventBus: MQTT on this node, between its clients and DeviceTwin.

eventbus (the module: one session per broker) · settings (the configuration, made into brokers)
own (the node's own broker, a mosquitto) · access (who may come to it) · table (topics of rules, messages to the cloud)
"""
