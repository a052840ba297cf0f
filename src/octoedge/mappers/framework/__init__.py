"""What every mapper is made of, whatever its protocol.

`device`, `values`, `schedule`, `keys` and `pointer` are pure; `mapper` is what authors write a subclass of; `deadlines`
is how their code is called; `work` is one device at work, `panel` all of them as EdgeCore tells of them, `edgecore` the
way to EdgeCore, `rest` the door for people and programs; `run` puts them together.
"""
