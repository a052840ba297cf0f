"""Modbus, TCP and RTU, on pymodbus.

`registers` (what a visitor names, what its words mean, which requests read many; pure) · `link` (the connection that
mappers get) · `simulator` (a thermometer on a real Modbus server).
"""

import logging

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what it says is in the errors that are raised
