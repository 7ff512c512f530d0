"""An MCP server by FastMCP: tools, one of which tells its progress, a resource and a prompt."""

from fastmcp import Context, FastMCP

mcp = FastMCP("visited")


@mcp.tool
def add(a: int, b: int) -> int:
    return a + b


@mcp.tool
async def count(to: int, context: Context) -> int:
    for number in range(to):
        await context.report_progress(number + 1, to)
    return to


@mcp.resource("notes://one")
def note() -> str:
    return "the note"


app = mcp.http_app(stateless_http=True)
