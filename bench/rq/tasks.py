"""The job: records start and result of a task in its row."""

import os

import psycopg
from psycopg.types.json import Jsonb

_connection = (None, None)


def _postgres():
    """Returns the connection of this process: SimpleWorker reuses it, each process that Worker forks opens its own."""
    global _connection
    pid, connection = _connection
    if pid != os.getpid() or connection.closed:
        connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        _connection = (os.getpid(), connection)
    return connection


def noop(parameters):
    return None


HANDLERS = {"noop": noop}


def run(task_id, task_name, parameters):
    postgres = _postgres()
    postgres.execute(
        "UPDATE tasks SET status = 'running', started_at = clock_timestamp() WHERE id = %s", (task_id,)
    )
    result = HANDLERS[task_name](parameters)
    postgres.execute(
        "UPDATE tasks SET status = 'completed', result = %s, completed_at = clock_timestamp() WHERE id = %s",
        (Jsonb(result), task_id),
    )
