"""The kernel side of netctl: the only place that may import pyroute2 and iptc. It must not know grants or the socket."""
