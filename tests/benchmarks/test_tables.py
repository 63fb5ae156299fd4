from benchmarks.tables import documents, renew, rows


def test_rows():
    assert rows(("a", "b"), (1, 2.5)) == "| a | b |\n| --- | --- |\n| 1 | 2.5 |"


def test_tables_in_the_docs_are_those_of_the_results():
    for path in documents():
        text = path.read_text()
        assert renew(text) == text, f"{path} is out of date: run python -m benchmarks.tables"
