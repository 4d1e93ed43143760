"""The page on which a box that has no site.toml yet is set up, from a telephone or laptop on its LAN.

It must not run once there is a site.toml: then the staff pages change it. A small root process (helper) and an
unprivileged one that speaks HTTP (page) talk over a socket pair; what the page asks for the helper checks again.
"""
