"""Strawberry behind Starlette: a query, a mutation, and a subscription over both of its protocols."""

import asyncio
from collections.abc import AsyncGenerator

import strawberry
from starlette.applications import Starlette
from starlette.routing import Mount
from strawberry.asgi import GraphQL


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str) -> str:
        return f"Hello, {name}"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def double(self, number: int) -> int:
        return 2 * number


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, target: int) -> AsyncGenerator[int, None]:
        for number in range(target):
            yield number
            await asyncio.sleep(0)


app = Starlette(routes=[Mount("/graphql", GraphQL(strawberry.Schema(Query, Mutation, Subscription)))])
