"""What makes a flashed box of a Linux machine: its interfaces, radio, clock, first boot, and the technician's tray.

`gerbang run` needs nothing of it. It must not know people, SQL or what netctl does to the kernel; what it decides is
written for the system's own programs (networkd, hostapd, chrony, pppd, sshd), which it never speaks for.
"""
