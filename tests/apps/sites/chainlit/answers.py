"""The chat: it says what it was told, and streams it."""

import chainlit as cl


@cl.on_chat_start
async def start():
    await cl.Message(content="Ready for Ann").send()


@cl.on_message
async def answer(message: cl.Message):
    told = cl.Message(content="")
    for word in ("You", " said: ", message.content):
        await told.stream_token(word)
    await told.send()
