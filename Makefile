# Short names for ./dev, cargo and docker compose; `make` prints them.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
DISTRIBUTED = $(COMPOSE) -f docker-compose.distributed.yml
# needed before Docker 23
export DOCKER_BUILDKIT ?= 1
export COMPOSE_DOCKER_CLI_BUILD ?= 1

.DEFAULT_GOAL := help
.PHONY: help build run test demo lint docker-up docker-logs docker-down docker-up-dist docker-logs-dist docker-down-dist

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build the server, the worker and the command line: target/debug/tasker-server, tasker-worker, tasker
	cargo build

run: ## start Postgres, Redis, a server and two workers until Ctrl-C: ./dev up
	./dev up

test: ## run all tests with a Postgres and a Redis of their own: ./dev test
	./dev test

demo: ## submit some tasks and show their results: ./dev demo
	./dev demo

lint: ## all checks that need no test: ./dev lint
	./dev lint

docker-up: ## start the development stack in containers: API at 127.0.0.1:8080, metrics at 9090
	$(COMPOSE) up -d --build

docker-logs: ## follow its logs
	$(COMPOSE) logs -f

docker-down: ## stop it; its data is kept
	$(COMPOSE) down

docker-up-dist: ## start two servers, three workers (9091 to 9093), Prometheus (9090), Grafana (3000)
	$(DISTRIBUTED) up -d --build

docker-logs-dist: ## follow their logs
	$(DISTRIBUTED) logs -f

docker-down-dist: ## stop them; their data is kept
	$(DISTRIBUTED) down
