from octoedge.mappers import Mapper, read, write

class Thermometer(Mapper, protocol="modbus"):
    @read("temperature", unit="°C")
    async def temperature(self, device): return await device.holding(0) * 0.1
    @write("setpoint")
    async def setpoint(self, device, value): await device.write_holding(1, round(value * 10))
