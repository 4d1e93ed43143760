"""The decisions of the portal, pure: they import neither Flask nor SQL, and read no clock."""
