-- no-transaction
-- Finds the steps of a workflow.

CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_steps ON tasks (workflow_id, step, item) WHERE workflow_id IS NOT NULL;
