"""Printed vouchers: what stands on a card, as a PDF or a page, on A4 or on a receipt's roll. It must not know SQL."""
