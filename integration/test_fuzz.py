"""No mutated pickle crashes, hangs or raises an error that does not say what is wrong where."""

import random
from collections import Counter

import pytest
from fuzz.__main__ import fuzz
from fuzz.batch import read_file
from fuzz.mutation import mutated, operations_of
from fuzz.valid_files import valid_files

MUTANTS = 3000


@pytest.mark.parametrize("number", range(len(valid_files())))
def test_the_files_that_mutants_are_made_of_are_read(tmp_path, number):
    origin = valid_files()[number]
    path = tmp_path / "valid.pkl"
    path.write_bytes(origin.content)
    assert read_file(origin, path) == ("read", None)


def test_operations_put_together_again_are_the_file():
    for file in valid_files():
        parts = operations_of(file.content)
        assert b"".join(code + argument for code, argument in parts) == file.content


def test_nearly_all_mutants_differ_from_their_origin():
    files = valid_files()
    valid = [operations_of(file.content) for file in files]
    choose = random.Random(0)
    same = sum(mutated(valid, 1, choose) == files[1].content for _ in range(500))
    assert same < 50


def test_thousands_of_mutated_checkpoints_and_proposals_break_no_promise():
    outcomes: Counter[str] = Counter()
    for batch in fuzz(MUTANTS, seed=20):
        assert batch.broken == []
        outcomes += batch.outcomes
    assert outcomes.keys() == {"read", "refused"}
    assert outcomes.total() == MUTANTS
    assert min(outcomes.values()) > MUTANTS // 20
