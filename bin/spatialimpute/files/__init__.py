"""The files that pass between steps, and that users open: who writes and who reads them."""
