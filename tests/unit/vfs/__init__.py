import pytest

# Before its import, so that its checks tell what they compared.
pytest.register_assert_rewrite("tests.unit.vfs.harness")
