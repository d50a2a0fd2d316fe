"""Files of strangers: vendors, laboratories, repositories."""
