"""What other programs may import of netctl: types, errors, wire protocol, client.

It must not import anything of the kernel side (netctl.kernel, netctl.engine) or touch the network stack.
"""
