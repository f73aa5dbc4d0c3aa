"""What every stage and command shares: parameters, one-sentence errors, files that are whole or
not there, results, a command line. Imports no other room; every room may use it."""
