"""What every mapper is made of, whatever its protocol.

`mapper` is what authors write a subclass of; `work` is one device at work, `panel` all of them as EdgeCore tells of
them, `edgecore` the way to EdgeCore, `rest` the door for people and programs; `run` puts them together. `deadlines` is
how an author's code is called. `device`, `values`, `schedule`, `wishes`, `readings`, and what drivers read their
settings and answers with, `keys`, `settings` and `pointer`, are pure.
"""
