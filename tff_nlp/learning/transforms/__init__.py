"""What changes a gradient on its way to the optimizer, one file each."""
