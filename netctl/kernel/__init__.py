"""The kernel side of netctl: alone it may import pyroute2 and iptc. It must not know grants or the socket."""
