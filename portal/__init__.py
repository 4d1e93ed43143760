"""portal: what people meet of the gateway. It reaches the kernel only through netctl.api."""
