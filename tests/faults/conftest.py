"""Assertions of what these tests share tell what they compared."""

import pytest

pytest.register_assert_rewrite("faulting", "faulting_network")
