"""Updates of a box: two slots, a trial with a way back, bundles whole or as a delta. It knows nothing of people."""
