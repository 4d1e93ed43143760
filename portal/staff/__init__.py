"""The pages of operator, technician and reviewer. It must not know the guest pages, SQL or interface names."""
