"""What most people write: FastAPI, transformers, a plain function. For uvicorn --workers 2."""

from embedder import Embedder
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
embed = Embedder()


class Body(BaseModel):
    inputs: str


@app.get("/ping")
def ping() -> dict[str, str]:
    return {}


@app.post("/invocations")
def invocations(body: Body) -> list[float]:
    return embed([body.inputs])[0]
