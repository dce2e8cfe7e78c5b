"""Tests of the block reader over a share that lives in memory."""
