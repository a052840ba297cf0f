"""A whole mapper: `octoedge-mapper run thermometer.py`."""

from octoedge.mappers import Mapper, read, write


class Thermometer(Mapper, protocol="modbus"):
    @read("temperature", unit="°C")
    async def temperature(self, device):
        return await device.holding(0) * 0.1

    @read("setpoint", unit="°C")
    async def setpoint(self, device):
        return await device.holding(1) * 0.1

    @write("setpoint")
    async def set_setpoint(self, device, value):
        await device.write_holding(1, round(value * 10))
