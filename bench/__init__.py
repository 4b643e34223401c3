"""Measurements. Each prints its figure beside that of a bare floor program, measured in the same run on equal work."""
