"""One site behind the middlewares that people use, on hcrs and on the servers that it takes the place of."""
