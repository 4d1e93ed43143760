"""netctl: the small root program that owns the kernel state of the gateway.

It knows MAC addresses, rates and deadlines; it must not know people, plans, SQL or HTTP.
"""
