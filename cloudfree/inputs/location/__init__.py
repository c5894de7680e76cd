"""Where the bytes of a file come from.

`source` is a file on disk, in an archive, within a file of several variables, or at an address; `names` refuses what is
no name of these; `containers` chooses among what comes as several files, and `stacked` joins bands that are stored
apart; `remote` asks a server for the version of a file.
"""
