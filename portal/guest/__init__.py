"""The pages that villagers see. It must not know the staff pages, SQL or interface names."""
