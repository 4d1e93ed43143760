"""How a box's image is made: layers of Debian packages and files, the product on top, a disk around it.

It must not know how the gateway works: it installs the wheel, the units and the configuration, and no module of theirs
is imported here.
"""
