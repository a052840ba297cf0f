"""Installing: what brings a cloud and an edge node onto a machine, shows how they are, and takes them away again."""
