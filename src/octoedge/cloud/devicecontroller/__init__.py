"""DeviceController: Devices and DeviceModels to the nodes, what devices report into DeviceStatuses.

`downstream` and `upstream` name the direction, `statuses` writes. Pure beside them: `facts` (what matters of a Device),
`reported` (a report merged into a status), `membership` (what edges of KubeEdge are told besides the objects).
"""
