"""The scripts that a person runs. Only this package handles flags and the command line."""
