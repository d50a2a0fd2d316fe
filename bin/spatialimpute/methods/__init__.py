"""Methods that predict genes in spatial cells, behind one interface."""
