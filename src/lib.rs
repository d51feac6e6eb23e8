//! Call a function in a child process, over typed channels that trust nobody.
