"""OPC UA devices, on asyncua: `link` (all values of a round in one request) · `session` (shared) · `simulator`."""

import logging

logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what it says is in the errors that are raised
