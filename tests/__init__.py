"""The tests of azfilesfs: a package, so that no installed ``tests`` can take its name."""
