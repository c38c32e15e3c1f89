"""``span-marker mcp``."""

from typing import Annotated

import typer

from span_marker_cli.common import BatchSize, Device, Model, load_model, results_only


def mcp(
    model: Model,
    max_texts: Annotated[int, typer.Option("--max-texts", min=1, help="Maximum texts per call.")] = 1000,
    max_characters: Annotated[
        int, typer.Option("--max-characters", min=1, help="Maximum characters per call, over all texts.")
    ] = 1_000_000,
    max_mappings: Annotated[
        int, typer.Option("--max-mappings", min=1, help="Mappings of redacted names to keep in memory.")
    ] = 100,
    batch_size: BatchSize = 32,
    device: Device = None,
) -> None:
    """Run an MCP server on standard input and output, with tools for agents to extract, redact and restore."""
    from span_marker.core.extras import import_extra

    with results_only():  # standard output is for the protocol
        import_extra("mcp.server.mcpserver", "'mcp>=2'", "mcp", "span-marker mcp needs")
        from span_marker.integrations.mcp import Limits, create_server

        limits = Limits(max_texts=max_texts, max_characters=max_characters, max_mappings=max_mappings)
        server = create_server(load_model(model, device), limits=limits, batch_size=batch_size)
    server.run()
