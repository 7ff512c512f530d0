"""Makes the database that is looked after."""

from app import Base, engine

Base.metadata.create_all(engine)
