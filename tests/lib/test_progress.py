"""Progress where there is no terminal: few lines, on stderr, and every item."""

from stages.lib import progress


def test_a_bar_gives_every_item_and_few_lines(capsys):
    assert list(progress.bar(range(5000), title="download", unit="image")) == list(range(5000))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.lstrip("\r").startswith("download")
    assert "5000/5000" in err
    assert len(err.split("\r")) < 6
    assert max(len(line) for line in err.split("\r")) <= 101
    assert err.isascii()


def test_a_line_does_not_break_a_bar(capsys):
    with progress.bar(title="finetune", total=2) as bar:
        progress.log("a cell is damaged")
        bar.update(2)
    lines = capsys.readouterr().err.replace("\r", "\n").split("\n")
    assert "a cell is damaged" in [line.strip() for line in lines]
