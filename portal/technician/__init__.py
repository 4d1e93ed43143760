"""What a technician looks at: diagnosis, bundle, speed test, and their sentences in each language."""
