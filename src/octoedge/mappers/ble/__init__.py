"""Bluetooth LE devices, on bleak: `convert` (bytes to values; pure) · `link` · `bluez` (BlueZ without a radio: a D-Bus
service that speaks its interface) · `simulator` (sensors behind it, on a private bus).
"""

import logging

logging.getLogger("bleak").setLevel(logging.CRITICAL)  # what it says is in the errors that are raised
