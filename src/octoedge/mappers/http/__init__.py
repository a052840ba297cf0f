"""Devices that answer HTTP: `link` (JSON or text by URL, on aiohttp) · `simulator` (a meter with a limit)."""
