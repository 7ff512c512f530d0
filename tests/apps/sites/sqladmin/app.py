"""sqladmin over one table."""

import os

from sqladmin import Admin, ModelView
from sqlalchemy import String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette

engine = create_engine(f"sqlite:///{os.environ['APP_FOLDER']}/people.db", connect_args={"check_same_thread": False})


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))


class People(ModelView, model=Person):
    name_plural = "People"
    column_list = ("id", "name")


app = Starlette()
Admin(app, engine).add_view(People)
