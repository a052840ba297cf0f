"""OPC UA devices, on asyncua: `link` (all values of a round in one request) · `simulator` (a pump)."""
