"""``span-marker validate``."""

from typing import Annotated, Optional

import typer

from span_marker_cli.common import AsJson, Data, Format, Read, load_model, named_paths, read_options, show


def validate(
    data: Data,
    model: Annotated[
        Optional[str], typer.Option("--model", help="Also check against this model's words, labels and limits.")
    ] = None,
    format: Format = None,
    read: Read = None,
    as_json: AsJson = False,
) -> int:
    """Check annotated files, row by row. The exit status is 1 if errors or losses are found."""
    from dataclasses import asdict

    import span_marker

    options = read_options(format, read)
    report = span_marker.validate(named_paths(data), None if model is None else load_model(model, "cpu"), **options)
    if as_json:
        show(
            {
                "num_rows": report.num_rows,
                "num_entities": report.num_entities,
                "problems": list(map(asdict, report.problems)),
            }
        )
    else:
        typer.echo(report)
    return 0 if report.is_clean else 1
