"""Blocks of the documents that are cheap enough to be run whenever tests are."""

from __future__ import annotations

from pathlib import Path

import documents
import pytest
import stories

ALONE = stories.alone()


@pytest.mark.parametrize("block", ALONE, ids=[b.where for b in ALONE])
def test_a_block_runs_in_an_empty_folder(block: documents.Block, tmp_path: Path) -> None:
    stories.run(stories.script([block]), tmp_path, timeout_seconds=60)


def test_there_are_such_blocks() -> None:
    assert len(ALONE) >= 3


def test_a_command_that_fails_is_seen_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "```bash\ntrue\nmainspring project show nowhere | cat\necho gone on\n```\n"
    )
    (block,) = documents.blocks(tmp_path / "a.md")
    here = documents.Block(documents.ROOT / "a.md", block.line, block.language, block.text, block.mark)
    with pytest.raises(AssertionError, match=r"exit code 78\n\n== a.md:1\nerror: no token file") as told:
        stories.run(stories.script([here]), tmp_path, timeout_seconds=60)
    assert "gone on" not in str(told.value)
