"""The API: inserts a row into Postgres, enqueues a job in RQ, and returns 202."""

import json
import os
import uuid
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from redis import Redis
from rq import Queue

QUEUE = os.environ["RQ_QUEUE"]


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.redis = Redis.from_url(os.environ["REDIS_URL"])
    # the result is in Postgres, so RQ drops finished jobs at once (result_ttl=0)
    app.state.queue = Queue(QUEUE, connection=app.state.redis, default_timeout=3600)
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=4, max_size=16) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


class Submit(BaseModel):
    task_name: str
    parameters: dict = Field(default_factory=dict)


@app.post("/tasks/submit", status_code=202)
async def submit(task: Submit, request: Request):
    state = request.app.state
    task_id = uuid.uuid4()
    await state.pool.execute(
        "INSERT INTO tasks (id, task_name, parameters) VALUES ($1, $2, $3)",
        task_id,
        task.task_name,
        json.dumps(task.parameters),
    )
    # RQ's client is synchronous and would block the event loop
    await run_in_threadpool(
        state.queue.enqueue_call,
        "tasks.run",
        args=(str(task_id), task.task_name, task.parameters),
        job_id=f"{QUEUE}-{task_id}",
        result_ttl=0,
    )
    return {"task_id": task_id, "task_name": task.task_name, "status": "pending"}


@app.get("/health/ready")
async def ready(request: Request):
    await request.app.state.pool.execute("SELECT 1")
    return Response(status_code=200)
