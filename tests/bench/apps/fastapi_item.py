"""The FastAPI app: one route with what routes usually have, a path parameter and a query
parameter that are validated and a response model, and no middleware of its own."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    id: int
    name: str
    tags: list[str]


@app.get("/items/{item_id}")
async def item(item_id: int, name: str = "none") -> Item:
    return Item(id=item_id, name=name, tags=["red", "blue"])
