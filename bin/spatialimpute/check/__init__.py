"""What CHECK_INPUTS looks at: the sheet, the parameters, and the files that they name."""
