"""Models that ``vlajs teacher serve`` puts on the network, one file each; the server itself is ``vlajs.vla.serving``."""
