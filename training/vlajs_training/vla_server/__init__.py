"""Models that ``vlajs teacher serve`` puts on the network, one file each; the server is ``vlajs.vla.serving``."""
