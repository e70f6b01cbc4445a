"""Runs one RQ worker: `worker.py Worker|SimpleWorker NAME`."""

import os
import sys

import rq
from redis import Redis

import tasks  # noqa: F401 -- imported before the fork, so that jobs need not import it again


def main():
    worker_class, name = sys.argv[1:]
    redis = Redis.from_url(os.environ["REDIS_URL"])
    worker = getattr(rq, worker_class)([os.environ["RQ_QUEUE"]], name=name, connection=redis)
    worker.work(logging_level="WARNING")


if __name__ == "__main__":
    main()
