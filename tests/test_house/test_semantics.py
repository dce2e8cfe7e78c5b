"""docs/SEMANTICS.md and the tests agree on what is promised.

A statement is a paragraph that begins with its number in bold, such as ``**S3.1**``, below the
heading "What holds". A test quotes it with ``@pytest.mark.semantics("S3.1")``.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from tests.features import REPOSITORY

STATEMENT = re.compile(r"^\*\*(S\d+(?:\.\d+)*)\*\*", re.MULTILINE)
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)


def sections() -> dict[str, str]:
    """Return the text below each second-level heading."""
    text = (REPOSITORY / "docs" / "SEMANTICS.md").read_text(encoding="utf-8")
    parts = HEADING.split(text)
    return dict(zip((title.strip() for title in parts[1::2]), parts[2::2], strict=True))


def quotes() -> Iterator[str]:
    """Yield the number in every ``semantics(...)`` mark that stands in the tests."""
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.semantics":
                yield from (ast.literal_eval(argument) for argument in node.args)


def test_numbers_are_unique():
    """No two statements share a number, whichever section they stand in."""
    numbers = Counter(number for text in sections().values() for number in STATEMENT.findall(text))

    assert [number for number, times in numbers.items() if times > 1] == []


def test_every_statement_that_holds_is_quoted():
    """Each statement of the section "What holds" has a test of its own."""
    stated = set(STATEMENT.findall(sections()["What holds"]))

    assert stated
    assert sorted(stated - set(quotes())) == []


def test_every_quote_is_stated():
    """No test quotes a statement that is gone, or that does not hold yet."""
    assert sorted(set(quotes()) - set(STATEMENT.findall(sections()["What holds"]))) == []
