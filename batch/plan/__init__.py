"""Assembly: from settings to readers, provider, limits, journal and output; one module per job to be done.

`running` answers a file, `checking` reads one, `sending` posts a single body. The command line calls these
and nothing below them.
"""
